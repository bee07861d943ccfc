"""Which active weights leave: `drop(layers, counts, memory)` -> by layer a score, or the weights that go themselves.

Of a score (numbers) the lowest counts[l] active ones leave, or as many in all where the layers compete (`drop_scope:
global`); of equals the last ones. Marks (True: goes) are what leaves. `memory` holds numbers and tensors from one
update to the next, and is in checkpoints. Further criteria are in gradient_drops.py, running.py and grasp_drop.py.

    magnitude            the smallest |w| (Han et al., NeurIPS 2015)
    set                  half from the smallest positive, half from the largest negative (SET, Mocanu et al., 2018)
    magnitude_variance   the smallest (|w| / max |w|) * (u / max u) with u = 1 / (sqrt(v) + eps), v of Adam
    global_magnitude     the smallest |w| of all layers together
    threshold            all |w| <= tau; tau is doubled after an update that took less than 98 % of what was asked for,
                         halved after one that took more than 102 % (Dettmers, Zettlemoyer, arXiv 1907.04840, released)
    random               any, uniformly

Not from the papers: exact counts. Released code compares with a threshold, and takes more than it was asked for where
weights are equal or 0; its SET keeps some of the weights that it should drop, and drops others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from sparse_ortho.rewiring.counting import counts as count_each
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.ranking import best

READS = {"magnitude_variance": ("second_moment",)}  # of the optimizer
Layers = Mapping[str, Layer]
Counts = Mapping[str, int]
Memory = dict[str, Any]
Marks = dict[str, torch.Tensor]
Drop = Callable[..., Mapping[str, torch.Tensor]]
TAU, TOLERANCE = 0.001, 0.02


def magnitude(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return {name: layer.magnitude for name, layer in layers.items()}


def signed(layers: Layers, counts: Counts, memory: Memory, *, scope: str = "layer") -> Marks:
    """Where one sign has too few weights the other gives more; an odd one, and zeros, are taken for positive."""
    negative = {name: layer.mask & (layer.weight < 0) for name, layer in layers.items()}
    positive = {name: layer.mask & ~negative[name] for name, layer in layers.items()}
    score, below = magnitude(layers, counts, memory), count_each(negative)
    above = {name: layer.active - below[name] for name, layer in layers.items()}
    if scope == "global":
        size = sum(above.values()), sum(below.values())
        gone = _shared(sum(counts.values()), *size)
        kept = [best(score, size[i] - gone[i], places) for i, places in enumerate((positive, negative))]
    else:
        gone = {name: _shared(counts[name], above[name], below[name]) for name in layers}
        kept = [best(score, {n: above[n] - gone[n][0] for n in layers}, positive)]
        kept += [best(score, {n: below[n] - gone[n][1] for n in layers}, negative)]
    return {name: layer.mask & ~kept[0][name] & ~kept[1][name] for name, layer in layers.items()}


def magnitude_variance(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return {name: _certain(layer) for name, layer in layers.items()}


def global_magnitude(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return lowest(layers, {name: layer.magnitude for name, layer in layers.items()}, sum(counts.values()))


def threshold(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    tau = memory.get("threshold", TAU)
    gone = {name: layer.mask & (layer.magnitude <= tau) for name, layer in layers.items()}
    asked, got = sum(counts.values()), sum(count_each(gone).values())
    scale = 2.0 if got < (1 - TOLERANCE) * asked else 0.5 if got > (1 + TOLERANCE) * asked else 1.0
    memory["threshold"] = tau * scale
    return gone


def random(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    """Drawn on the CPU, by a child of the stream that random growth draws from."""
    return {name: _uniform(layer) for name, layer in layers.items()}


def lowest(layers: Layers, scores: Mapping[str, torch.Tensor], counts: Counts | int) -> Marks:
    """The `counts` active weights with the lowest scores: all but the highest."""
    active = {name: layer.active for name, layer in layers.items()}
    rest = sum(active.values()) - counts if isinstance(counts, int) else {n: active[n] - counts[n] for n in active}
    kept = best(scores, rest, {name: layer.mask for name, layer in layers.items()})
    return {name: layer.mask & ~kept[name] for name, layer in layers.items()}


def _shared(count: int, positive: int, negative: int) -> tuple[int, int]:
    of_negative = min(negative, max(count - positive, count // 2))
    return count - of_negative, of_negative


def _uniform(layer: Layer) -> torch.Tensor:
    assert layer.rng is not None
    return torch.from_numpy(layer.rng().spawn(1)[0].random(tuple(layer.mask.shape))).to(layer.mask.device)


def _certain(layer: Layer) -> torch.Tensor:
    sure = 1.0 / (layer.deviation + layer.eps)
    return _of_largest(layer.magnitude, layer.mask) * _of_largest(sure, layer.mask)


def _of_largest(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Divided by the largest at an active place, unless that is 0."""
    largest = torch.where(mask, values, 0).amax()
    return values / torch.where(largest > 0, largest, 1)
