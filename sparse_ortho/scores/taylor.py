"""First-order Taylor importance (Molchanov, Mallya, Tyree, Frosio, Kautz, "Importance Estimation for Neural Network
Pruning", CVPR 2019, arXiv 1906.10771, eq. 8).

    s_j = mean over minibatches of (w_j dL/dw_j)^2        higher score = keep

the squared change of the loss, to first order, when a weight is removed. The square is taken before the mean; after it
(`squares: after`) the order is that of SNIP, and that is `TP` of Jaiswal et al. (ToST, ICML 2022, arXiv 2206.12755).
Not from the papers: they sum over gates of whole filters, or the whole training set; here each batch is cut into
interleaved minibatches of at least `minibatch` examples. Normalisation and dropout are those of `snip`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.probe import Probe
from sparse_ortho.scores.passes import add, gradient, leaves, losses
from sparse_ortho.streams import Streams

NEEDS = ("weights", "data")


@torch.enable_grad()
def taylor(
    probe: Probe,
    streams: Streams,
    *,
    minibatch: int = 16,
    squares: Literal["before", "after"] = "before",
    double: bool = False,
    rounds: int = 1,
    path: Literal["cosine", "cubic", "exponential", "linear"] = "exponential",
) -> dict[str, torch.Tensor]:
    """(w * gradient)^2 of each weight: the scores of one round."""
    if minibatch < 1:
        raise UserError("scores.taylor.minibatch", "must be at least 1", found=minibatch)
    w, total, parts = leaves(probe, double), None, 0
    for loss in losses(replace(probe, batches=list(_minibatches(probe, minibatch))), w):
        change = {name: g * w[name].detach() for name, g in gradient(loss, w).items()}
        total = add(total, {n: c.double().square() if squares == "before" else c for n, c in change.items()})
        parts += 1
    assert total is not None
    mean = {name: s.double() / parts for name, s in total.items()}  # squares of float32 would leave its range at 1e-19
    return mean if squares == "before" else {name: s.square() for name, s in mean.items()}


def _minibatches(probe: Probe, least: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every n-th example of a batch, because batches may be sorted by class."""
    for x, y in probe.batches or ():
        n = max(1, len(x) // least)
        yield from ((x[first::n], y[first::n]) for first in range(n))
