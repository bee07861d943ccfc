"""How much of what grows each layer gets: `redistribute(layers)` -> importance by layer, of which only ratios count.

    momentum    mean |m| of the active weights (sparse momentum, Dettmers, Zettlemoyer, arXiv 1907.04840)
    magnitude   mean |w| of the active weights
    nonzeros    number of active weights that are not 0
    size        number of all weights, which a release of that paper calls "none"
    variance    mean sqrt(v) of the active weights, v of Adam

What a layer lost comes back to it where there is no redistribution, and where every importance is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from sparse_ortho.rewiring.counting import counts, numbers
from sparse_ortho.rewiring.layer import Layer

READS = {"momentum": ("momentum",), "variance": ("second_moment",)}  # of the optimizer
Layers = Mapping[str, Layer]
Redistribute = Callable[[Layers], Mapping[str, float]]


def momentum(layers: Layers) -> dict[str, float]:
    return mean_over_active(layers, {name: layer.momentum for name, layer in layers.items()})


def magnitude(layers: Layers) -> dict[str, float]:
    return mean_over_active(layers, {name: layer.magnitude for name, layer in layers.items()})


def nonzeros(layers: Layers) -> dict[str, float]:
    found = counts({name: layer.mask & (layer.weight != 0) for name, layer in layers.items()})
    return {name: float(count) for name, count in found.items()}


def size(layers: Layers) -> dict[str, float]:
    return {name: float(layer.size) for name, layer in layers.items()}


def variance(layers: Layers) -> dict[str, float]:
    return mean_over_active(layers, {name: layer.deviation for name, layer in layers.items()})


def mean_over_active(layers: Layers, values: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Summed in float64; 0 for an empty layer."""
    kind = torch.float32 if any(value.device.type == "mps" for value in values.values()) else torch.float64
    sums = numbers({n: (value * layers[n].mask).sum(dtype=kind) for n, value in values.items()})
    return {name: sums[name] / layer.active if layer.active else 0.0 for name, layer in layers.items()}
