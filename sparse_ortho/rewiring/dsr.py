"""DSR, dynamic sparse reparameterization (Mostafa, Wang, ICML 2019, arXiv 1902.05967).

    every so many steps, with one threshold H for all layers l:
    prune    the active |w| < H: K_l of them, K in all; R_l are left in the layer, R in all
    grow     K R_l / R weights in layer l, from 0, at random places, but not where something has just been pruned
    H        <- 2 H if K < (1 - delta) N_p,    H / 2 if K > (1 + delta) N_p,    delta = 0.1

With `granularity: kernel` whole kernels of convolutions live and die, by the mean of their |w|, as in the released
program: K_l and R_l count kernels (of a linear layer its weights). Not from there: kernels of one size share among
themselves, so that the number of weights stays; K and N_p are compared in weights.

`target` is N_p: from 1 on a number of weights (the released program has 600 for LeNet-300-100), below 1 a fraction of
the active ones. 600 are 0.0225 of LeNet-300-100 at density 0.1, which is why the default is 0.02. `slower` are times at
which the period doubles, as published for CIFAR and ImageNet. A layer that would lose everything keeps its largest
weight, and what grows may begin at random values (`regrown_value: random`, fresh.py), as released. Not from the paper:
layers share by largest remainder within their room (as released a random layer takes what rounding leaves, and a full
layer never ends the search for a place); where there is no other room, what has just been pruned may grow again; H is
not doubled once everything that may go has gone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

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
    change, lost = exchanged(layers, threshold)
    most = sum(max(0, layer.active - 1) for layer in layers.values())
    return change, adapted(threshold, sum(lost.values()), target, most)


def exchanged(layers: Layers, threshold: float) -> tuple[Change, dict[str, int]]:
    """What is left and has grown, and how many each layer lost."""
    gone = pruned(layers, threshold)
    lost = counts(gone)
    left = {n: v.with_mask(v.mask & ~gone[n], v.active - lost[n], gone[n]) for n, v in layers.items()}
    grown = growth.random(*places(left, lost))
    return Change({name: layer.mask | grown[name] for name, layer in left.items()}, grown), lost


def reparameterized_kernels(layers: Layers, threshold: float, target: float) -> tuple[Change, float]:
    """The same of whole kernels."""
    taps = {name: layer.size // math.prod(layer.mask.shape[:2]) for name, layer in layers.items()}
    small = {name: of_kernels(layer, taps[name]) for name, layer in layers.items()}
    masks, grown, lost = dict[str, torch.Tensor](), dict[str, torch.Tensor](), 0
    for size in sorted(set(taps.values())):
        change, gone = exchanged({name: layer for name, layer in small.items() if taps[name] == size}, threshold)
        lost += size * sum(gone.values())
        masks |= {name: of_weights(mark, layers[name]) for name, mark in change.masks.items()}
        grown |= {name: of_weights(mark, layers[name]) for name, mark in change.grown.items()}
    most = sum(taps[name] * max(0, layer.active - 1) for name, layer in small.items())
    return Change({n: masks[n] for n in layers}, {n: grown[n] for n in layers}), adapted(threshold, lost, target, most)


def of_kernels(layer: Layer, taps: int) -> Layer:
    """(outputs, inputs): the mean magnitude of each kernel, and whether it is active."""
    size, mask = layer.magnitude.reshape(*layer.mask.shape[:2], taps).mean(2), whole(layer.mask)
    return replace(layer, weight=size, mask=mask, gradient=None, known=layer.active // taps)


def of_weights(marks: torch.Tensor, layer: Layer) -> torch.Tensor:
    return marks.view(*marks.shape, *[1] * (layer.mask.dim() - 2)).expand(layer.mask.shape).clone()


def whole(mask: torch.Tensor) -> torch.Tensor:
    """(outputs, inputs): the kernels all of whose weights are active."""
    return mask.reshape(*mask.shape[:2], -1).all(2)


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
    grows = True

    def __init__(self, *given: Any, steps_per_epoch: int | None = None, total_steps: int | None = None):
        super().__init__(*given, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        where = self.rule.where("slower")
        for text in self.rule.slower:
            unit = text.strip()[-2:]
            if unit != "it" and (steps_per_epoch if unit == "ep" else total_steps) is None:
                raise UserError(where, "is no number of steps, and how many it means is not known", found=text)
        if self.rule.granularity == "kernel":
            self._refuse_parts()
        self.turns = [duration(text, steps_per_epoch or 0, total_steps or 0, where) for text in self.rule.slower]

    def _refuse_parts(self) -> None:
        marks = {name: self.masks[name] for name in self.moving}
        kernels = {name: whole(mask) for name, mask in marks.items()}
        sizes, found = counts(marks), counts(kernels)
        for name, mask in marks.items():
            if sizes[name] * kernels[name].numel() != found[name] * mask.numel():
                problem = f"moves whole kernels, and the mask of {name!r} has parts of some; take structure: kernel"
                raise UserError(self.rule.where("granularity"), problem, found="kernel")

    def due(self, step: int) -> bool:
        return super().due(step) and step % (self.times.every * 2 ** sum(step >= turn for turn in self.turns)) == 0

    def change(self, layers: Layers, step: int) -> Change:
        target = self.rule.target
        number = target if target >= 1 else target * sum(layer.active for layer in layers.values())
        update = reparameterized_kernels if self.rule.granularity == "kernel" else reparameterized
        change, self.memory["threshold"] = update(layers, self.threshold(), number)
        return change

    def threshold(self) -> float:
        return self.memory.get("threshold", self.rule.threshold)


@dataclass(frozen=True)
class Reparameterization(Rule):
    target: float = 0.02
    threshold: float = 1e-3
    slower: tuple[str, ...] = ()
    granularity: str = "weight"

    live = Reparameterizing
    limits = RANGES


def dsr(
    *,
    every: str = "100it",
    start: str = "0it",
    stop: str = "1.0",
    target: float = 0.02,
    threshold: float = 1e-3,
    slower: tuple[str, ...] = (),
    granularity: Literal["weight", "kernel"] = "weight",
    regrown_value: Literal["zero", "random"] = "zero",
    momentum_reset: bool | Literal["mean"] = True,
    masked_momentum: bool = True,
    leave: tuple[str, ...] = (),
) -> Rule:
    return Reparameterization(
        "dsr",
        every,
        start,
        stop,
        regrown_value=regrown_value,
        momentum_reset=momentum_reset,
        masked_momentum=masked_momentum,
        target=target,
        threshold=threshold,
        slower=tuple(slower),
        granularity=granularity,
        leave=tuple(leave),
    )
