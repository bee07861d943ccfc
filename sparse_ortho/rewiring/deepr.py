"""DEEP R, deep rewiring (Bellec, Kappel, Maass, Legenstein, ICLR 2018, arXiv 1711.05136).

    w_k = s_k theta_k   with a sign s_k of every possible connection k that never changes, and theta_k >= 0
    every step, for active k:  theta_k <- theta_k - eta dL/dtheta_k - eta alpha + sqrt(2 eta T) nu_k,   nu_k ~ N(0, 1)
    theta_k < 0:  k becomes dormant, and a dormant connection of the layer, drawn at random, active with theta = 0

eta is the learning rate of the step, whatever the optimizer makes of the gradient. The sign of what is active at the
start is that of its weight, others are drawn. alpha (`l1`) and T (`temperature`) are those of the released program:
1e-5, and noise of 5e-6 a step at eta = 0.5, which is T = 2.5e-11. `cooling` is the path of T to 0 over the training.
`deepr@as_released` is what the program of Mostafa and Wang (2019) does: N(0, 2 eta' T), eta' = 0.001, is added to the
gradient, where the learning rate and momentum act on it. Dormant connections have no momentum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from sparse_ortho import ranges
from sparse_ortho.errors import UserError
from sparse_ortho.rewiring import moments
from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.live import Rewiring
from sparse_ortho.rewiring.memory import in_memory, spots
from sparse_ortho.rewiring.rule import Rule
from sparse_ortho.schedules import SCHEDULES

RANGES = {"l1": "at least 0", "temperature": "at least 0"}
ETA = 0.001  # of the noise of the released program


def drawn(mask: torch.Tensor, free: int, count: int, rng: np.random.Generator) -> torch.Tensor:
    """`count` of the free places, uniformly, drawn on the CPU; by trial and error where a quarter of all is."""
    flat = mask.reshape(-1)
    if 4 * free < len(flat):
        return torch.from_numpy(rng.choice(flat.logical_not().nonzero().view(-1).cpu().numpy(), count, replace=False))
    found: dict[int, None] = {}
    while len(found) < count:
        tried = torch.from_numpy(rng.integers(len(flat), size=2 * count + 8))
        taken = flat[tried.to(flat.device)].cpu()
        found |= dict.fromkeys(tried[~taken].tolist())
    return torch.tensor(list(found)[:count])


class DeepRewiring(Rewiring):
    """It works on the active places alone: of LeNet-300-100 at density 0.05 a step takes a third of the time."""

    rule: DeepR
    works_on_gradients = True

    def __init__(self, *given: Any, steps_per_epoch: int | None = None, total_steps: int | None = None):
        super().__init__(*given, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        if self.rule.cooling != "constant" and total_steps is None:
            raise UserError(self.rule.where("cooling"), "ends with the training; say how many steps it has, steps=...")
        self.total_steps = total_steps
        self.places = {name: mask.reshape(-1).nonzero().view(-1) for name, mask in self.masks.items()}
        self.signs = {name: self._signs(name, weight.detach()) for name, weight in self.weights.items()}
        held = [{id(p) for p in group["params"]} for group in self.optimizer.param_groups]
        self.group = {n: next(i for i, ids in enumerate(held) if id(w) in ids) for n, w in self.weights.items()}

    def _signs(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        random = 2 * self.streams("rewiring", f"{name}/signs").integers(2, size=tuple(weight.shape)) - 1
        signs = torch.where(weight == 0, torch.from_numpy(random).to(weight), weight.sign())
        return signs.contiguous()  # in channels_last a view in the order of the indices would be a copy at every step

    def temperature(self) -> float:
        """Of the step to come."""
        t = self.steps / self.total_steps if self.total_steps else 0.0
        return self.rule.temperature * SCHEDULES[self.rule.cooling](t)

    @torch.no_grad()
    def before_step(self, *, scaled: bool = False) -> bool:
        if self.rule.released:
            for name, weight in self.weights.items():
                if weight.grad is not None:
                    push = self._push(name, math.sqrt(2 * ETA * self.temperature()), self.rule.l1)
                    in_memory(weight.grad).index_add_(0, spots(weight.grad, self.places[name]), push)
        return False

    @torch.no_grad()
    def after_step(self) -> bool:
        there = {name: spots(weight, self.places[name]) for name, weight in self.weights.items()}
        values = {n: in_memory(weight).index_select(0, there[n]) for n, weight in self.weights.items()}
        if not self.rule.released:
            for name, value in values.items():
                eta = float(self.optimizer.param_groups[self.group[name]]["lr"])
                value.sub_(self._push(name, -math.sqrt(2 * eta * self.temperature()), eta * self.rule.l1))
        self.steps += 1
        gone = {name: value * self._active_signs(name) < 0 for name, value in values.items()}
        for name, weight in self.weights.items():
            in_memory(weight.zero_()).index_copy_(0, there[name], values[name].masked_fill_(gone[name], 0))
        moved = self._rewire(gone)
        self.updates += 1
        if self.rule.masked_momentum:
            moments.mask(self.optimizer, self.weights, self.factors())
        return moved

    def _active_signs(self, name: str) -> torch.Tensor:
        return self.signs[name].view(-1).index_select(0, self.places[name])

    def _push(self, name: str, size: float, pull: float) -> torch.Tensor:
        """What the step to come takes off, or has in its gradient: the slope of the L1 norm, and noise."""
        push = pull * self._active_signs(name)
        if size:
            nu = self.streams("rewiring", f"{name}/noise/{self.steps}").standard_normal(len(push))
            push.add_(torch.from_numpy(nu).to(push), alpha=size)
        return push

    def _rewire(self, gone: Mapping[str, torch.Tensor]) -> bool:
        """Whether anything has left. How many of each layer is read from the device once for all layers."""
        lost = counts(gone)
        self.last = {n: {"active": len(self.places[n]), "dropped": lost[n], "grown": lost[n]} for n in lost}
        for name, number in lost.items():
            if number:
                self._replace(name, gone[name], number)
        if any(lost.values()):
            self._factors = {}
        return any(lost.values())

    def _replace(self, name: str, gone: torch.Tensor, number: int) -> None:
        """The connections at `gone` of the places of a layer become dormant, and others come into their places."""
        mask, places = self.masks[name], self.places[name]
        flat = in_memory(mask)
        flat[spots(mask, places)] = ~gone
        rng = self.streams("rewiring", f"{name}/{self.steps}")
        fresh = drawn(mask, mask.numel() - len(places) + number, number, rng).to(places.device)
        flat.index_fill_(0, spots(mask, fresh), True)
        self.places[name] = places.masked_scatter(gone, fresh)
        for value in moments.per_weight(self.optimizer, self.weights[name]):
            in_memory(value).index_fill_(0, spots(value, fresh), 0)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"signs": self.signs, "places": self.places}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        for name, signs in self.signs.items():
            signs.copy_(state["signs"][name])
            self.places[name] = state["places"][name].to(signs.device, copy=True)


@dataclass(frozen=True)
class DeepR(Rule):
    temperature: float = 2.5e-11
    cooling: str = "constant"
    l1: float = 1e-5
    released: bool = False

    live = DeepRewiring

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cooling not in ("constant", "cosine", "linear"):
            raise UserError(self.where("cooling"), "unknown choice", found=self.cooling)
        ranges.refuse(RANGES, vars(self), f"rule.{self.name}")


def deepr(
    *,
    temperature: float = 2.5e-11,
    cooling: Literal["constant", "cosine", "linear"] = "constant",
    l1: float = 1e-5,
    masked_momentum: bool = True,
) -> Rule:
    return DeepR("deepr", masked_momentum=masked_momentum, temperature=temperature, cooling=cooling, l1=l1)


def deepr_as_released(
    *,
    temperature: float = 2.5e-11,
    cooling: Literal["constant", "cosine", "linear"] = "constant",
    l1: float = 1e-5,
    masked_momentum: bool = True,
) -> Rule:
    noise_is = {"temperature": temperature, "cooling": cooling, "l1": l1, "released": True}
    return DeepR("deepr@as_released", masked_momentum=masked_momentum, **noise_is)
