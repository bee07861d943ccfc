"""Which active weights leave: `drop(layers, counts, memory)` -> the weights that go, by layer.

Exactly counts[l] active weights of each layer, or as many in all where the layers compete; `threshold` alone decides by
itself how many. Of equals the last ones go. `memory` holds numbers from one update to the next, and is in checkpoints.

    magnitude            the smallest |w| (Han et al., NeurIPS 2015)
    signed               half from the smallest positive, half from the largest negative (SET, Mocanu et al., 2018)
    magnitude_variance   the smallest (|w| / max |w|) * (u / max u) with u = 1 / (sqrt(v) + eps), v of Adam
    global_magnitude     the smallest |w| of all layers together
    threshold            all |w| <= tau; tau is doubled after an update that took less than 98 % of what was asked for,
                         halved after one that took more than 102 % (Dettmers, Zettlemoyer, arXiv 1907.04840, released)

Not from the papers: exact counts. Released code compares with a threshold, and takes more than it was asked for where
weights are equal or 0; its SET keeps some of the weights that it should drop, and drops others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from sparse_ortho.masks import select
from sparse_ortho.rewiring.layer import Layer

Layers = Mapping[str, Layer]
Counts = Mapping[str, int]
Memory = dict[str, float]
Marks = dict[str, torch.Tensor]
Drop = Callable[[Layers, Counts, Memory], Marks]
TAU, TOLERANCE = 0.001, 0.02


def magnitude(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return lowest(layers, {name: layer.magnitude for name, layer in layers.items()}, counts)


def signed(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return {name: _signed(layer, counts[name]) for name, layer in layers.items()}


def magnitude_variance(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return lowest(layers, {name: _certain(layer) for name, layer in layers.items()}, counts)


def global_magnitude(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return lowest(layers, {name: layer.magnitude for name, layer in layers.items()}, sum(counts.values()))


def threshold(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    tau = memory.get("threshold", TAU)
    gone = {name: layer.mask & (layer.magnitude <= tau) for name, layer in layers.items()}
    asked, got = sum(counts.values()), sum(int(mark.count_nonzero()) for mark in gone.values())
    scale = 2.0 if got < (1 - TOLERANCE) * asked else 0.5 if got > (1 + TOLERANCE) * asked else 1.0
    memory["threshold"] = tau * scale
    return gone


def lowest(layers: Layers, scores: Mapping[str, torch.Tensor], counts: Counts | int) -> Marks:
    """The `counts` active weights with the lowest scores: all but the highest."""
    active = {name: layer.active for name, layer in layers.items()}
    rest = sum(active.values()) - counts if isinstance(counts, int) else {n: active[n] - counts[n] for n in active}
    kept = select(scores, rest, {name: layer.mask for name, layer in layers.items()})
    return {name: layer.mask & ~kept[name] for name, layer in layers.items()}


def _signed(layer: Layer, count: int) -> torch.Tensor:
    """Where one sign has too few weights the other gives more; an odd one, and zeros, are taken for positive."""
    negative = layer.mask & (layer.weight < 0)
    below = int(negative.count_nonzero())
    least = max(0, count - (layer.active - below))  # what the positive ones cannot give
    of = {"negative": min(below, max(least, count // 2))}
    of["positive"] = count - of["negative"]
    masks = {"negative": negative, "positive": layer.mask & ~negative}
    kept = {sign: int(mask.count_nonzero()) - of[sign] for sign, mask in masks.items()}
    highest = select(dict.fromkeys(masks, layer.magnitude), kept, masks)
    return layer.mask & ~highest["negative"] & ~highest["positive"]


def _certain(layer: Layer) -> torch.Tensor:
    sure = 1.0 / (layer.deviation + layer.eps)
    return _of_largest(layer.magnitude, layer.mask) * _of_largest(sure, layer.mask)


def _of_largest(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Divided by the largest at an active place, unless that is 0."""
    largest = torch.where(mask, values, 0).amax()
    return values / torch.where(largest > 0, largest, 1)
