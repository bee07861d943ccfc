"""Soft activations first, exact ReLU at the end ("ghost" soft neurons; Jaiswal, Ma, Chen, Ding, Wang, "Training Your
Sparse Neural Network Better with Any Mask", ICML 2022, arXiv 2206.12755).

    swish, pswish:   x sigmoid(b x),    b(t) = beta0 (beta_max / beta0)^(t / fraction)
    other kinds:     (1 - l) soft(x) + l ReLU(x),    l(t) = t / fraction
    t >= fraction:   ReLU(x)

Every ReLU module is replaced where it stands and put back at the end. `learnable` trains one b a module (of swish and
pswish), as a factor of what the schedule says; it counts as parameters that the plain network does not have.

Not from the paper, whose released code has no schedule (`always_on` is that code, with beta0 = 1 for swish and 2 for
pswish, which are beta0 unless it is said): the geometric path, the blend, both ends of b, and fraction = 0.5. At
beta_max = 20 swish is within 0.014 of ReLU everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.tricks.attached import Attached, device_of
from sparse_ortho.tricks.functions import BLENDED, SHARP, swish
from sparse_ortho.tricks.limits import positive, share_of

WORD = "kind"  # what a single word stands for
REPLACES = "relu"  # the activation that a network must have
SHARP_KINDS = ("swish", "pswish")  # as a literal, for the plan
KINDS = (*SHARP, *BLENDED)


@dataclass(frozen=True)
class Soft:
    kind: str
    beta0: float
    beta_max: float
    fraction: float
    always_on: bool
    learnable: bool

    def attach(self, model: nn.Module) -> SoftActivations:
        return SoftActivations(self, model)


def soft(
    *,
    kind: Literal[
        "swish",
        "pswish",
        "bent_identity",
        "elu",
        "gelu",
        "lisht",
        "mish",
        "smooth_gradient",
        "smooth_relu",
        "softplus",
    ] = "swish",
    beta0: float | None = None,
    beta_max: float = 20.0,
    fraction: float = 0.5,
    always_on: bool = False,
    learnable: bool = False,
) -> Soft:
    """`beta0` is that of the kind, 1 or 2, if not given."""
    if kind not in KINDS:
        raise UserError("tricks.soft.kind", "unknown soft activation", found=kind, allowed=KINDS)
    if kind not in SHARP and (learnable or beta0 is not None):
        said = "learnable" if learnable else "beta0"
        raise UserError(f"tricks.soft.{said}", f"only {' and '.join(SHARP)} have a beta", found=kind)
    start = SHARP.get(kind, 1.0) if beta0 is None else beta0
    positive("tricks.soft", beta0=start, beta_max=beta_max)
    share_of("tricks.soft", fraction)
    return Soft(kind, start, beta_max, fraction, always_on, learnable)


class SoftReLU(nn.Module):
    """In the place of a ReLU. Its numbers are the controller's, so that the network's names stay as they are."""

    def __init__(self, kind: str, amount: torch.Tensor, factor: nn.Parameter | None):
        super().__init__()
        self.kind = kind
        self.told = (amount, factor)  # a tuple registers nothing

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        amount, factor = self.told
        amount = amount.to(x.dtype)
        if self.kind in SHARP:
            return swish(x, amount if factor is None else amount * factor.to(x.dtype))
        return torch.lerp(BLENDED[self.kind](x), x.relu(), amount)


class SoftActivations(Attached):
    def __init__(self, trick: Soft, model: nn.Module):
        super().__init__(trick)
        self.soft = trick
        self.places = list(relus(model))
        if not self.places:
            problem = "the model has no ReLU module to soften; calls of torch.relu inside a forward pass are not seen"
            raise UserError("tricks.soft", problem)
        device = device_of(model)
        self.amount = torch.zeros((), device=device)  # a tensor: compiled code is not made again at every step
        factors: dict[int, nn.Parameter] = {}
        if trick.learnable:
            factors = {id(module): nn.Parameter(torch.ones((), device=device)) for _, _, module in self.places}
            self.extra = nn.ParameterList(factors.values())
        softened = {
            id(module): SoftReLU(trick.kind, self.amount, factors.get(id(module))) for _, _, module in self.places
        }
        for parent, name, module in self.places:
            softened[id(module)].train(module.training)
            setattr(parent, name, softened[id(module)])
        self.show(0.0)

    def show(self, u: float) -> None:
        soft = self.soft
        self.amount.fill_(soft.beta0 * (soft.beta_max / soft.beta0) ** u if soft.kind in SHARP else u)

    def remove(self) -> None:
        for parent, name, module in self.places:
            module.train(getattr(parent, name).training)
            setattr(parent, name, module)
        self.places = []


def relus(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(parent, name, ReLU) of every place; a module that stands in several places comes several times."""
    found = [(p, name, child) for p in model.modules() for name, child in p._modules.items()]  # named_children: once
    return ((parent, name, child) for parent, name, child in found if isinstance(child, nn.ReLU))
