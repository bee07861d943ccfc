"""AC/DC, alternating compressed and decompressed training (Peste, Iofinova, Vladu, Alistarh, NeurIPS 2021, 2106.12379).

    steps before `start`    dense
    from `start` on         phases of `every` steps in turn: compressed (the first one), dense, compressed, ...
    from `stop` on          compressed: the network that is the result

A compressed phase begins with the largest |w|, budget(final_density, N) of them, of all layers together, and keeps that
mask; in a dense phase every weight trains, and what comes back starts from 0 without momentum. Published for 100 epochs
on ImageNet: start 10, every 5, stop 85, which are the defaults in fractions. Not from the paper: "dense" is the mask
that the training starts with, so that the method has a meaning also from a sparse start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sparse_ortho.budgets import budget
from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.engine import Change
from sparse_ortho.rewiring.largest import largest
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.live import Rewiring
from sparse_ortho.rewiring.rule import Rule

THINS = True  # so it may start from a dense network


def is_compressed(step: int, *, every: int, start: int, stop: int) -> bool:
    """The phase after so many steps."""
    return step >= stop or (step >= start and (step - start) // every % 2 == 0)


class Alternating(Rewiring):
    def __init__(self, *given: Any, **lengths: Any):
        super().__init__(*given, **lengths)
        self.support = {name: mask.clone() for name, mask in self.masks.items()}
        if self.compressed(0):
            self.rewire(0)

    def compressed(self, step: int) -> bool:
        return is_compressed(step, every=self.times.every, start=self.times.start, stop=self.times.density_stop)

    def due(self, step: int) -> bool:
        return self.compressed(step) != self.compressed(step - 1)

    def change(self, layers: Mapping[str, Layer], step: int) -> Change:
        if not self.compressed(step):
            return Change(self.support, {name: self.support[name] & ~layer.mask for name, layer in layers.items()})
        assert self.rule.final_density is not None
        total = budget(self.rule.final_density, self.masks.size)
        weights = {name: layer.weight for name, layer in layers.items()}
        masks = largest(weights, total, self.support, counts(self.support), self.rule.scope)
        return Change(masks, {name: torch.zeros_like(mask) for name, mask in masks.items()})

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"support": self.support}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        for name, mask in self.support.items():
            mask.copy_(state["support"][name])


@dataclass(frozen=True)
class Alternation(Rule):
    live = Alternating


def ac_dc(
    *,
    final_density: float = 0.1,
    every: str = "0.05",
    start: str = "0.1",
    stop: str = "0.85",
    scope: Literal["global", "even"] = "global",
    momentum_reset: bool | Literal["mean"] = True,
) -> Rule:
    return Alternation(
        "ac_dc",
        every,
        start,
        final_density=final_density,
        density_stop=stop,
        scope=scope,
        momentum_reset=momentum_reset,
    )
