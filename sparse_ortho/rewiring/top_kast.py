"""Top-KAST (Jayakumar, Pascanu, Rae, Osindero, Elsen, NeurIPS 2020, arXiv 2106.03517).

    A = the K largest |theta| of a layer,   B = the K' >= K largest:  A is in B        chosen every so many steps
    forward   w = theta on A, 0 elsewhere
    gradient  dL/dw on B, 0 elsewhere; weights outside B stay as they are
    loss      + lambda / 2 |theta|^2 on A  and  + lambda / (2 D) |theta|^2 on B without A,   D = K / N of the layer

So what is in B alone must become large against a stronger pull, or make room. K' = backward x K: published pairs of
densities are 0.2 and 0.5, 0.1 and 0.2, 0.05 and 0.1. Choosing every 100 steps lost nothing there. From `stop` on B = A.
Layers have the densities of the mask that the training starts with, scaled to `final_density`; from a dense network
they are equal. Not from the paper: exact counts; where fewer than K' weights are not 0, B takes others at random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sparse_ortho.budgets import budget
from sparse_ortho.rewiring import moments
from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.hidden import Hidden
from sparse_ortho.rewiring.largest import evenly
from sparse_ortho.rewiring.layer import finite
from sparse_ortho.rewiring.ranking import best
from sparse_ortho.rewiring.rule import Rule

THINS = True  # so it may start from a dense network
RANGES = {"backward": "at least 1", "pull": "at least 0"}
Marks = dict[str, torch.Tensor]


def forward_and_backward(
    theta: Mapping[str, torch.Tensor], forward: Mapping[str, int], backward: Mapping[str, int], ties: Marks
) -> tuple[Marks, Marks]:
    """A and B. Of weights that are 0 those come first that `ties`, numbers in [0, 1), has highest."""
    scores = {name: finite(value.abs()) for name, value in theta.items()}
    scores = {name: torch.where(score > 0, score, ties[name] - 1) for name, score in scores.items()}
    every = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    wide = best(scores, backward, every)
    return best(scores, forward, wide), wide


class Widening(Hidden):
    rule: TopKast

    def begin(self) -> None:
        assert self.rule.final_density is not None
        self.forward = evenly(counts(dict(self.masks)), budget(self.rule.final_density, self.masks.size))
        sizes = {name: mask.numel() for name, mask in self.masks.items()}
        self.backward = {n: min(sizes[n], math.floor(self.rule.backward * k + 0.5)) for n, k in self.forward.items()}
        self.pulls = {n: self.rule.pull * sizes[n] / max(1, k) for n, k in self.forward.items()}  # lambda / D
        self.wide: Marks = {}

    def due(self, step: int) -> bool:
        return step == self.times.density_stop or (step < self.times.density_stop and step % self.times.every == 0)

    def chosen(self, step: int) -> Marks:
        explores = step < self.times.density_stop
        ties = {name: self._ties(name, theta, step) for name, theta in self.theta.items()}
        masks, self.wide = forward_and_backward(
            self.theta, self.forward, self.backward if explores else self.forward, ties
        )
        self._prepare(masks)
        return masks

    def _prepare(self, masks: Mapping[str, torch.Tensor]) -> None:
        """The masks as numbers, with which a step takes half the time: B, and lambda or lambda / D within it."""
        self.inside = {name: mask.to(self.theta[name].dtype) for name, mask in self.wide.items()}
        pulls = {n: torch.where(masks[n], self.rule.pull, self.pulls[n]) for n in masks}
        self.slopes = {name: self.inside[name] * pulls[name].to(self.inside[name].dtype) for name in pulls}

    def _ties(self, name: str, theta: torch.Tensor, step: int) -> torch.Tensor:
        drawn = self.streams("rewiring", f"{name}/{step}").random(theta.shape)
        return torch.from_numpy(drawn).to(theta)

    def turn(self, name: str, gradient: torch.Tensor) -> None:
        gradient.mul_(self.inside[name]).addcmul_(self.theta[name], self.slopes[name])

    def settle(self) -> None:
        for name, weight in self.weights.items():
            theta = self.theta[name]
            torch.where(self.wide[name], weight.detach(), theta, out=theta)
        moments.mask(self.optimizer, self.weights, self.inside)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"wide": self.wide}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        for name, mask in self.wide.items():
            mask.copy_(state["wide"][name])
        self._prepare(self.masks)


@dataclass(frozen=True)
class TopKast(Rule):
    backward: float = 2.0
    pull: float = 1e-4  # lambda

    live = Widening
    limits = RANGES


def top_kast(
    *,
    final_density: float = 0.1,
    every: str = "100it",
    stop: str = "1.0",
    backward: float = 2.0,
    pull: float = 1e-4,
) -> Rule:
    return TopKast("top_kast", every, final_density=final_density, density_stop=stop, backward=backward, pull=pull)
