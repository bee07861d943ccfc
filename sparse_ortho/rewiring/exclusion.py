"""Layers that become dense and leave the others alone (Dettmers, Zettlemoyer, arXiv 1907.04840: the first programs).

    a layer whose density was above 0.85 at more than 10 updates becomes dense for good
    the number of weights of the whole network stays: the others have so many fewer, and share among themselves

So were the published networks of 10 and 30 % for ImageNet trained. Not from there: the others lose what is too many at
once, the smallest of all together, as in any rule that thins out (there less grew until the number was right); a layer
that they could not pay for stays in the game.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sparse_ortho.rewiring.drops import Layers
from sparse_ortho.rewiring.engine import Change
from sparse_ortho.rewiring.live import Rewiring
from sparse_ortho.rewiring.rule import Rule

NEARLY, TIMES = 0.85, 10


def excluded(seen: dict[str, int], layers: Layers) -> list[str]:
    """The layers that are dense from now on; `seen` counts the updates at which each one was nearly so."""
    for name, layer in layers.items():
        seen[name] = seen.get(name, 0) + (layer.active > NEARLY * layer.size)
    out, active = list[str](), sum(layer.active for layer in layers.values())
    for name in sorted(layers, key=lambda name: -seen[name]):  # those that are dense already come first
        rest = active - sum(layers[other].size for other in [*out, name])
        if seen[name] > TIMES and rest >= len(layers) - len(out) - 1:
            out.append(name)
    return out


class Excluding(Rewiring):
    shared = 0  # how many weights the layers have that are not dense

    def change(self, layers: Layers, step: int) -> Change:
        out = excluded(self.memory.setdefault("nearly_dense", {}), layers)
        left = {name: layer for name, layer in layers.items() if name not in out}
        self.shared = sum(layer.active for layer in layers.values()) - sum(layers[name].size for name in out)
        made = super().change(left, step) if left else Change({}, {})
        masks = made.masks | {name: torch.ones_like(layers[name].mask) for name in out}
        grown = made.grown | {name: ~layers[name].mask for name in out}
        return Change({name: masks[name] for name in layers}, {name: grown[name] for name in layers})

    def total(self, step: int) -> int:
        return self.shared


@dataclass(frozen=True)
class Exclusion(Rule):
    live = Excluding
