"""SNIP, connection sensitivity (Lee, Ajanthan, Torr, ICLR 2019, arXiv 1810.02340).

    s_j = | dL(c * w) / dc_j |  at c = the current mask  =  | w_j dL/dw_j |        higher score = keep

L is the model's loss on logits, averaged over the batches; the gradient is averaged before the absolute value is taken.
Normalisation uses the statistics of each batch and dropout is off (see `passes`). Not from the paper: several batches
(it uses one), no division by the sum of all s (which changes no order), no new weights before scoring.
"""

from __future__ import annotations

import torch

from sparse_ortho.probe import Probe
from sparse_ortho.scores.passes import add, gradient, leaves, losses
from sparse_ortho.streams import Streams

NEEDS = ("weights", "data")


@torch.enable_grad()
def snip(probe: Probe, streams: Streams) -> dict[str, torch.Tensor]:
    """|w * mean gradient| of each weight."""
    w, g, batches = leaves(probe), None, 0
    for loss in losses(probe, w):
        g, batches = add(g, gradient(loss, w)), batches + 1
    assert g is not None
    return {name: (w[name].detach() * g[name]).abs_().div_(batches) for name in w}
