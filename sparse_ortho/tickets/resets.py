"""What goes back when a network has been pruned, and what stays as it was trained.

    all         w = p                          (iterative magnitude pruning: Frankle, Carbin, ICLR 2019)
    amplitudes  w = |p| sign(trained w)        of maskable weights; everything else stays
    signs       w = |trained w| sign(p)        of maskable weights; everything else stays
    norm        parameters and statistics of normalisation layers; everything else stays
    nothing     w = trained w                  (learning-rate rewinding: Renda, Frankle, Carbin, ICLR 2020)

`signed` afterwards takes the signs of another run, which that program reads from lists it stored:

    w = |w| sign(theirs)        of maskable weights that the other run has

p are the weights at the point that is gone back to. The parts are those of the program beside Gadhikar, Burkholz,
"Masks, Signs, And Learning Rate Rewinding", ICLR 2024. A trained weight of exactly 0 has the sign of its zero.
Not from that program: normalisation takes its running statistics along, and the optimizer always starts anew (there
`nothing` keeps its state).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from sparse_ortho.masks import plain_name

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
Weights = dict[str, torch.Tensor]


def restarted(
    trained: Mapping[str, torch.Tensor],
    point: Mapping[str, torch.Tensor],
    reset: str,
    model: nn.Module,
    maskable: Mapping[str, object],
) -> Weights:
    """The whole state that a level starts from, before it is masked."""
    return {name: RESETS[reset](trained[name], point[name], _part(name, model, maskable)) for name in trained}


def signed(
    state: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor], maskable: Mapping[str, object]
) -> Weights:
    """The signs of another run; a weight that it has pruned, or that is 0 there, keeps its own."""
    return {
        name: torch.where(theirs[name] != 0, torch.copysign(value, theirs[name]), value)
        if name in maskable and name in theirs
        else value
        for name, value in state.items()
    }


def _amplitudes(trained: torch.Tensor, point: torch.Tensor, part: str) -> torch.Tensor:
    return torch.copysign(point, trained) if part == "weight" else trained


def _signs(trained: torch.Tensor, point: torch.Tensor, part: str) -> torch.Tensor:
    return torch.copysign(trained, point) if part == "weight" else trained


RESETS: dict[str, Callable[[torch.Tensor, torch.Tensor, str], torch.Tensor]] = {
    "all": lambda trained, point, part: point,
    "amplitudes": _amplitudes,
    "signs": _signs,
    "norm": lambda trained, point, part: point if part == "norm" else trained,
    "nothing": lambda trained, point, part: trained,
}


def _part(name: str, model: nn.Module, maskable: Mapping[str, object]) -> str:
    """weight, norm or other."""
    if name in maskable:
        return "weight"
    owner = model.get_submodule(name.rpartition(".")[0])
    return "norm" if isinstance(owner, NORMS) else "other"


def masked(state: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]) -> Weights:
    """Exactly 0 where a mask is, also where a weight was not finite."""
    plain = {plain_name(name): mask for name, mask in masks.items()}
    return {
        name: value.masked_fill(~plain[name].to(value.device), 0.0) if name in plain else value.clone()
        for name, value in state.items()
    }
