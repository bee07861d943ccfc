"""SNIP, connection sensitivity (Lee, Ajanthan, Torr, ICLR 2019, arXiv 1810.02340).

    s_j = | dL(c * w) / dc_j |  at c = the current mask  =  | w_j dL/dw_j |        higher score = keep

L is the model's loss on logits, averaged over the batches; the gradient is averaged before the absolute value is taken.
Normalisation uses the statistics of each batch and dropout is off (see `passes`). Not from the paper: several batches
(it uses one), no division by the sum of all s (which changes no order), no new weights before scoring; `double`:
weights, data and gradients in float64, for networks whose gradients leave float32.

`rounds` above 1 is iterative SNIP (de Jorge, Sanyal, Behl, Torr, Rogez, Dokania, "Progressive Skeletonization", ICLR
2021, arXiv 2006.09081): s anew with the weights pruned so far at 0, where s is 0 and nothing comes back; its program
takes 60 rounds. `snip@as_released` is the program of Nowak et al. (ICML 2024), which takes the negative log-likelihood
of logits for a loss: L = -(the true class's logit), without the softmax.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch.nn.functional import nll_loss

from sparse_ortho.probe import Probe
from sparse_ortho.scores.passes import add, gradient, leaves, losses
from sparse_ortho.streams import Streams

NEEDS = ("weights", "data")


@torch.enable_grad()
def snip(
    probe: Probe,
    streams: Streams,
    *,
    double: bool = False,
    rounds: int = 1,
    path: Literal["cosine", "cubic", "exponential", "linear"] = "exponential",
) -> dict[str, torch.Tensor]:
    """|w * mean gradient| of each weight: the scores of one round."""
    w, g, batches = leaves(probe, double), None, 0
    for loss in losses(probe, w):
        g, batches = add(g, gradient(loss, w)), batches + 1
    assert g is not None
    return {name: (w[name].detach() * g[name]).abs_().div_(batches) for name in w}


def snip_as_released(probe: Probe, streams: Streams, *, double: bool = False) -> dict[str, torch.Tensor]:
    """SNIP with the loss of log-probabilities on what the model puts out."""
    return snip(replace(probe, loss=nll_loss), streams, double=double)
