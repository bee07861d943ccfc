"""Ghost skips: more skip connections first, none of them at the end (Jaiswal, Ma, Chen, Ding, Wang, "Training Your
Sparse Neural Network Better with Any Mask", ICML 2022, arXiv 2206.12755).

    y = layer(x) + alpha(t) ghost(x),    alpha from 1 to 0 over the first `fraction` of the training
    conv1x1:   ghost = BN(conv1x1 with the stride of the layer), around each convolution of every residual block
    identity:  ghost(x) = x, around square layers

All weights of a ghost convolution start at `constant`; through its BN that is no small branch: its standard deviation
is about 0.15, the same in all output channels (BN's eps of 1e-5 is what keeps it from 1). Ghosts are never masked:
ResNet-18 has 1,220,608 weights more, 10.9 % of the dense network, which is why records count them.

From the released code: places in blocks of two convolutions, constant, BN. It never changes alpha (`always_on` is that
code) and leaves bottlenecks as they are. Not from the paper: both schedules, fraction = 0.5, identity skips, and the
places in bottlenecks, by the same law: ResNet-50 has 10,616,832 weights more.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.schedules import SCHEDULES
from sparse_ortho.tricks.attached import Attached, device_of
from sparse_ortho.tricks.limits import positive, share_of
from sparse_ortho.tricks.places import Place, convolutions, squares

WORD = "kind"
KINDS = ("conv1x1", "identity")
DECAYS = ("linear", "cosine")


@dataclass(frozen=True)
class Ghost:
    kind: str
    decay: str
    constant: float
    fraction: float
    always_on: bool

    def attach(self, model: nn.Module) -> GhostSkips:
        return GhostSkips(self, model)


def ghost(
    *,
    kind: Literal["conv1x1", "identity"] = "conv1x1",
    decay: Literal["linear", "cosine"] = "linear",
    constant: float = 1e-4,
    fraction: float = 0.5,
    always_on: bool = False,
) -> Ghost:
    if kind not in KINDS:
        raise UserError("tricks.ghost.kind", "unknown ghost skip", found=kind, allowed=KINDS)
    if decay not in DECAYS:
        raise UserError("tricks.ghost.decay", "unknown decay", found=decay, allowed=DECAYS)
    positive("tricks.ghost", constant=constant)
    share_of("tricks.ghost", fraction)
    return Ghost(kind, decay, constant, fraction, always_on)


class GhostSkips(Attached):
    def __init__(self, trick: Ghost, model: nn.Module):
        super().__init__(trick)
        self.told = trick
        self.branches = branches(model, trick)
        self.extra = nn.ModuleDict({name.replace(".", "/"): branch for name, (_, branch) in self.branches.items()})
        self.extra.to(device_of(model))
        self.alpha = torch.ones((), device=device_of(model))  # a tensor: compiled code is not made again at every step
        self.inputs: dict[str, torch.Tensor] = {}
        self.handles: list[Any] = []
        for name, (place, branch) in self.branches.items():
            self.handles.append(place.source.register_forward_pre_hook(functools.partial(self._take, name)))
            self.handles.append(place.sink.register_forward_hook(functools.partial(self._add, name, branch)))

    def _take(self, name: str, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.inputs[name] = inputs[0]

    def _add(self, name: str, branch: nn.Module, sink: nn.Module, _: object, output: torch.Tensor) -> torch.Tensor:
        if branch.training != sink.training:  # the branch is no part of the model, so its mode follows its place
            branch.train(sink.training)
        if name not in self.inputs:
            raise UserError(f"tricks.ghost: {name}", "its normalisation runs before it, so no skip fits around it")
        around = branch(self.inputs.pop(name))
        return output + self.alpha.to(around.dtype) * around

    def show(self, u: float) -> None:
        self.alpha.fill_(SCHEDULES[self.told.decay](u))

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles, self.inputs = [], {}


def branches(model: nn.Module, trick: Ghost) -> dict[str, tuple[Place, nn.Module]]:
    """Every place with its branch."""
    if trick.kind == "identity":
        found: dict[str, tuple[Place, nn.Module]] = {place.name: (place, nn.Identity()) for place in squares(model)}
        missing = "no square layer and no residual block whose shape stays"
    else:
        found = {place.name: (place, _branch(layer, trick)) for place, layer in convolutions(model)}
        missing = "no residual block of two or three convolutions"
        if not found and next(squares(model), None):
            missing += "; kind: identity has a place in it"
    if not found:
        raise UserError("tricks.ghost", f"the model has {missing}", found=trick.kind)
    return found


def _branch(layer: nn.Conv2d, trick: Ghost) -> nn.Module:
    stride = (layer.stride[0], layer.stride[1])
    conv = nn.Conv2d(layer.in_channels, layer.out_channels, 1, stride, bias=False)
    nn.init.constant_(conv.weight, trick.constant)
    return nn.Sequential(conv, nn.BatchNorm2d(layer.out_channels))
