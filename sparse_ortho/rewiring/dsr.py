"""DSR, dynamic sparse reparameterization (Mostafa, Wang, ICML 2019, arXiv 1902.05967).

    every so many steps, with one threshold H for all layers l:
    prune    the active |w| < H: K_l of them, K in all; R_l are left in the layer, R in all
    grow     K R_l / R weights in layer l, from 0, at random places, but not where something has just been pruned
    H        <- 2 H if K < (1 - delta) N_p,    H / 2 if K > (1 + delta) N_p,    delta = 0.1

`target` is N_p: from 1 on a number of weights (the released program has 600 for LeNet-300-100), below 1 a fraction of
the active ones. 600 are 0.0225 of LeNet-300-100 at density 0.1, which is why the default is 0.02. `slower` are times at
which the period doubles, as published for CIFAR and ImageNet. A layer that would lose everything keeps its largest
weight, as released. Not from the paper: layers share by largest remainder within their room (as released a random layer
takes what rounding leaves, and a full layer never ends the search for a place); where there is no other room, what has
just been pruned may grow again; H is not doubled once everything that may go has gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from sparse_ortho.budgets import fill
from sparse_ortho.errors import UserError
from sparse_ortho.rewiring import growth
from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.engine import Change
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.live import Rewiring
from sparse_ortho.rewiring.ranking import best
from sparse_ortho.rewiring.rule import Rule
from sparse_ortho.schedules import duration

Layers = Mapping[str, Layer]
TOLERANCE = 0.1  # delta
RANGES = {"target": "above 0", "threshold": "above 0"}


def reparameterized(layers: Layers, threshold: float, target: float) -> tuple[Change, float]:
    """The masks after an update, and the threshold of the next one."""
    gone = pruned(layers, threshold)
    lost = counts(gone)
    left = {n: v.with_mask(v.mask & ~gone[n], v.active - lost[n], gone[n]) for n, v in layers.items()}
    grown = growth.random(*places(left, lost))
    change = Change({name: layer.mask | grown[name] for name, layer in left.items()}, grown)
    most = sum(max(0, layer.active - 1) for layer in layers.values())
    return change, adapted(threshold, sum(lost.values()), target, most)


def pruned(layers: Layers, threshold: float) -> dict[str, torch.Tensor]:
    gone = {name: layer.mask & (layer.magnitude < threshold) for name, layer in layers.items()}
    lost = counts(gone)
    emptied = {name: layer for name, layer in layers.items() if 0 < layer.active == lost[name]}
    if emptied:
        kept = best({n: layer.magnitude for n, layer in emptied.items()}, dict.fromkeys(emptied, 1), gone)
        gone |= {name: gone[name] & ~mark for name, mark in kept.items()}
    return gone


def places(left: Layers, lost: Mapping[str, int]) -> tuple[Layers, dict[str, int]]:
    """Where weights may grow, and how many in each layer."""
    room = {name: layer.size - layer.active - lost[name] for name, layer in left.items()}
    if sum(room.values()) < sum(lost.values()):
        left = {name: replace(layer, barred=None) for name, layer in left.items()}
        room = {name: layer.size - layer.active for name, layer in left.items()}
    return left, fill({name: float(layer.active) for name, layer in left.items()}, room, sum(lost.values()))


def adapted(threshold: float, lost: int, target: float, most: int) -> float:
    if lost < (1 - TOLERANCE) * target and lost < most:
        return 2 * threshold
    return threshold / 2 if lost > (1 + TOLERANCE) * target else threshold


class Reparameterizing(Rewiring):
    rule: Reparameterization

    def __init__(self, *given: Any, steps_per_epoch: int | None = None, total_steps: int | None = None):
        super().__init__(*given, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        where = self.rule.where("slower")
        for text in self.rule.slower:
            unit = text.strip()[-2:]
            if unit != "it" and (steps_per_epoch if unit == "ep" else total_steps) is None:
                raise UserError(where, "is no number of steps, and how many it means is not known", found=text)
        self.turns = [duration(text, steps_per_epoch or 0, total_steps or 0, where) for text in self.rule.slower]

    def due(self, step: int) -> bool:
        return super().due(step) and step % (self.times.every * 2 ** sum(step >= turn for turn in self.turns)) == 0

    def change(self, layers: Layers, step: int) -> Change:
        target = self.rule.target
        number = target if target >= 1 else target * sum(layer.active for layer in layers.values())
        change, self.memory["threshold"] = reparameterized(layers, self.threshold(), number)
        return change

    def threshold(self) -> float:
        return self.memory.get("threshold", self.rule.threshold)


@dataclass(frozen=True)
class Reparameterization(Rule):
    target: float = 0.02
    threshold: float = 1e-3
    slower: tuple[str, ...] = ()

    live = Reparameterizing
    limits = RANGES

    @property
    def moves(self) -> bool:
        return True


def dsr(
    *,
    every: str = "100it",
    start: str = "0it",
    stop: str = "1.0",
    target: float = 0.02,
    threshold: float = 1e-3,
    slower: tuple[str, ...] = (),
    momentum_reset: bool = True,
    masked_momentum: bool = True,
) -> Rule:
    return Reparameterization(
        "dsr",
        every,
        start,
        stop,
        momentum_reset=momentum_reset,
        masked_momentum=masked_momentum,
        target=target,
        threshold=threshold,
        slower=tuple(slower),
    )
