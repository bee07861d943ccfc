"""Criteria of a whole period: the lowest exponential moving average of a score since the last update.

    s <- gamma s + (1 - gamma) score        after every step, begun at the first score

    running_magnitude   |w|
    running_snip        |w g|, g the gradient of the step's batch

The average starts anew after each update. As in the program of Nowak et al. (ICML 2024), gamma = 1 keeps the first
score; the decay there has that value by default. An active weight that has grown since then has an average of its own,
because every layer starts anew at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from sparse_ortho.rewiring.drops import Counts, Drop, Layers, Marks, Memory
from sparse_ortho.rewiring.gradient_drops import saliency
from sparse_ortho.rewiring.layer import Layer

Watch = Callable[[Layers, Memory, float], None]
KEY = "running"


def watching(score: Callable[[Layer], torch.Tensor]) -> Callable[[Drop], Drop]:
    """Have `drop.watch(layers, memory, gamma)` called after every step, before an update that falls on it."""

    def watch(layers: Layers, memory: Memory, gamma: float) -> None:
        before = memory.get(KEY)
        now = {name: score(layer) for name, layer in layers.items()}
        if before is not None:
            now = {name: torch.lerp(value, before[name].to(value), gamma) for name, value in now.items()}
        memory[KEY] = now

    def mark(drop: Drop) -> Drop:
        drop.__dict__["watch"] = watch
        return drop

    return mark


def _magnitude(layer: Layer) -> torch.Tensor:
    return layer.magnitude


def _snip(layer: Layer) -> torch.Tensor:
    return saliency(layer).abs()


@watching(_magnitude)
def running_magnitude(layers: Layers, counts: Counts, memory: Memory, *, gamma: float = 1.0) -> Marks:
    return memory.pop(KEY, None) or {name: _magnitude(layer) for name, layer in layers.items()}


@watching(_snip)
def running_snip(layers: Layers, counts: Counts, memory: Memory, *, gamma: float = 1.0) -> Marks:
    return memory.pop(KEY, None) or {name: _snip(layer) for name, layer in layers.items()}
