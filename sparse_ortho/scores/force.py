"""FORCE, foresight connection sensitivity (de Jorge, Sanyal, Behl, Torr, Rogez, Dokania, "Progressive Skeletonization:
Trimming more fat from a network at initialization", ICLR 2021, arXiv 2006.09081).

    s_j = | theta_j * dL / dw_j |  at w = theta * c,  c = the current mask        higher score = keep

theta are the weights before anything was pruned, so that a pruned weight has a score too: it competes in every round,
and may come back. (With theta * c in place of theta it is iterative SNIP: score `snip` with `rounds`.) 60 rounds down
an exponential path are those of the paper's program. Batches, normalisation, dropout and `double` are those of `snip`.
"""

from __future__ import annotations

from typing import Literal

import torch

from sparse_ortho.probe import Probe
from sparse_ortho.scores.passes import add, gradient, leaves, losses
from sparse_ortho.streams import Streams

NEEDS = ("weights", "data")
RETURNS = True  # a round may keep what an earlier one pruned


@torch.enable_grad()
def force(
    probe: Probe,
    streams: Streams,
    *,
    double: bool = False,
    rounds: int = 60,
    path: Literal["cosine", "cubic", "exponential", "linear"] = "exponential",
) -> dict[str, torch.Tensor]:
    """|theta * mean gradient at the masked weights|: the scores of one round."""
    w, g, batches = leaves(probe, double), None, 0
    for loss in losses(probe, w):
        g, batches = add(g, gradient(loss, w)), batches + 1
    assert g is not None
    theta = probe.whole or probe.weights
    return {name: (theta[name].to(g[name]) * g[name]).abs_().div_(batches) for name in w}
