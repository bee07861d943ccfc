"""Scores in parts of their layer, output or input, and weights that keep the norm of what they were part of.

    normalize   score / sum (or max) of |score| over the active weights of the layer, of each output, of each input
    restore     after a drop the weights that stay are multiplied by ||before|| / ||after||, of the layer, each output
                or each input; what has nothing left, or had nothing, stays as it is

The options of the program of Nowak et al. (ICML 2024) that are called `normalize` and `adjust` there; its inputs are
dimension 1 and its outputs dimension 0. The norm is the Euclidean one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sparse_ortho.rewiring.layer import Layer

OVER = ("none", "layer", "output", "input")
KINDS = ("sum", "max")


def normalised(
    scores: Mapping[str, torch.Tensor], layers: Mapping[str, Layer], over: str, kind: str
) -> Mapping[str, torch.Tensor]:
    if over == "none":
        return scores
    return {name: _divided(score, layers[name].mask, over, kind) for name, score in scores.items()}


def _divided(score: torch.Tensor, mask: torch.Tensor, over: str, kind: str) -> torch.Tensor:
    """In float64, where no sum overflows and two shares that differ stay different."""
    score = score.double()
    sizes = torch.where(mask, score.abs(), 0)
    whole = sizes.sum(_along(score, over), keepdim=True) if kind == "sum" else sizes.amax(_along(score, over), True)
    return score / torch.where(whole > 0, whole, 1)


def restored(weight: torch.Tensor, before: torch.Tensor, stays: torch.Tensor, over: str) -> torch.Tensor:
    """`weight` with the norms of `before` among the places where `stays`."""
    if over == "none":
        return weight
    after = torch.where(stays, weight, 0).double()
    along = _along(weight, over)
    old, new = before.double().pow(2).sum(along, keepdim=True), after.pow(2).sum(along, keepdim=True)
    factor = torch.where((old > 0) & (new > 0), old / torch.where(new > 0, new, 1), 1).sqrt()
    return torch.where(stays, (weight.double() * factor).to(weight.dtype), weight)


def _along(values: torch.Tensor, over: str) -> tuple[int, ...]:
    """The dimensions that one layer, output (dimension 0) or input (dimension 1) extends over."""
    kept = {"layer": None, "output": 0, "input": 1 if values.ndim > 1 else 0}[over]
    return tuple(i for i in range(values.ndim) if i != kept)
