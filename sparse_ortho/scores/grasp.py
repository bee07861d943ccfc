"""GraSP, gradient signal preservation (Wang, Zhang, Grosse, ICLR 2020, arXiv 2002.07376, eq. 8 and algorithm 2).

    S(-theta) = -theta * H g         the change of ||g||^2 / 2, to first order, when a weight is removed
    score     =  theta * H g         higher score = keep

A positive S means that the gradient grows without this weight, so the paper removes the weights of the highest S.
`grasp@as_released` is the program of Nowak et al. (ICML 2024), which removes the lowest: `tests/law/
test_gradient_scores.py` measures the gradient norm both ways. `rounds` above 1 scores anew with the weights pruned so
far at 0, as in the programs of de Jorge et al. (ICLR 2021) and Tanaka et al. (NeurIPS 2020); nothing comes back.
g is the gradient of L(logits / temperature), summed over the batches, and H g the sum of each batch's Hessian times
this g, by a second backward pass. Normalisation uses the statistics of each batch, dropout is off (see `passes`).
Not from the paper: the batches of both passes are the same; `double`: everything in float64, for networks whose
gradients leave float32.
"""

from __future__ import annotations

from typing import Literal

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.probe import Probe
from sparse_ortho.scores.passes import add, gradient, leaves, losses
from sparse_ortho.streams import Streams

NEEDS = ("weights", "data")


@torch.enable_grad()
def grasp(
    probe: Probe,
    streams: Streams,
    *,
    temperature: float = 200.0,
    double: bool = False,
    rounds: int = 1,
    path: Literal["cosine", "cubic", "exponential", "linear"] = "exponential",
) -> dict[str, torch.Tensor]:
    """theta * H g of each weight, of either sign."""
    if not temperature > 0:
        raise UserError("scores.grasp.temperature", "must be above 0", found=temperature)
    theta, g, Hg = leaves(probe, double), None, None
    for loss in losses(probe, theta, temperature):
        g = add(g, gradient(loss, theta))
    assert g is not None
    for loss in losses(probe, theta, temperature):
        here = gradient(loss, theta, create_graph=True)
        inner = torch.stack([(here[name] * g[name]).sum() for name in theta]).sum()
        Hg = add(Hg, gradient(inner, theta))
    assert Hg is not None
    return {name: theta[name].detach() * Hg[name] for name in theta}


def grasp_as_released(
    probe: Probe, streams: Streams, *, temperature: float = 200.0, double: bool = False
) -> dict[str, torch.Tensor]:
    """The other sign."""
    return {n: -score for n, score in grasp(probe, streams, temperature=temperature, double=double).items()}
