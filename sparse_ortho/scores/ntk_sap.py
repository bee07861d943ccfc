"""NTK-SAP, pruning that keeps the spectrum of the neural tangent kernel (Wang, Li, Sun, "NTK-SAP: Improving neural
network pruning by aligning training dynamics", ICLR 2023, arXiv 2304.02840).

    s_j = | d/dm_j  E ||f(x; theta * m) - f(x; (theta + dtheta) * m)||^2 |,  dtheta ~ N(0, eps^2)    higher score = keep

To first order in eps the expectation is eps^2 times the trace (nuclear norm) of the NTK at theta * m, so no Jacobian is
formed. The images x are Gaussian noise: no data is read. Every round draws images and dtheta anew, from streams of its
number (one draw a round; a published run of the authors has 20 rounds of five). Nothing that was pruned comes back.
Not from the paper: theta is the cell's own in every round (there drawn anew, so that the mask fits any weights), and
normalisation and dropout are those of `snip`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.func import functional_call

from sparse_ortho.errors import UserError
from sparse_ortho.probe import Probe
from sparse_ortho.scores.flow import input_shape
from sparse_ortho.scores.passes import Tensors, gradient, state_of, undisturbed
from sparse_ortho.streams import Streams

NEEDS = ("weights",)


@torch.enable_grad()
def ntk_sap(
    probe: Probe,
    streams: Streams,
    *,
    images: int = 64,
    eps: float = 0.01,
    rounds: int = 100,
    path: Literal["cosine", "cubic", "exponential", "linear"] = "exponential",
) -> dict[str, torch.Tensor]:
    """The slope of the distance by each weight's mask: the scores of one round."""
    if images < 1 or not eps > 0:
        raise UserError("scores.ntk_sap", "images must be at least 1, and eps above 0", found=(images, eps))
    number = _number(probe)
    theta = {name: weight.detach().double() for name, weight in (probe.whole or probe.weights).items()}
    m = {name: (probe.weights[name] == theta[name]).double().requires_grad_() for name in theta}
    x = _noise(streams, f"ntk_sap/{number}/images", (images, *input_shape(probe)), theta)
    moved = {name: w + eps * _noise(streams, f"ntk_sap/{number}/{name}", w.shape, theta) for name, w in theta.items()}
    here, there = (_outputs(probe, {name: w[name] * m[name] for name in m}, x) for w in (theta, moved))
    return {name: slope.abs_() for name, slope in gradient((here - there).square().sum() / images, m).items()}


def _number(probe: Probe) -> int:
    """How many rounds came before this one."""
    if probe.memo is None:
        return 0
    probe.memo["ntk_sap"] = probe.memo.get("ntk_sap", -1) + 1
    return probe.memo["ntk_sap"]


def _noise(streams: Streams, name: str, shape: tuple[int, ...], like: Tensors) -> torch.Tensor:
    return torch.from_numpy(streams("score", name).standard_normal(tuple(shape))).to(next(iter(like.values())).device)


def _outputs(probe: Probe, weights: Tensors, x: torch.Tensor) -> torch.Tensor:
    with undisturbed(probe.model, batch_statistics=True):
        return functional_call(probe.model, state_of(probe, weights), (x,))
