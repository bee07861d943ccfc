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

from sparse_ortho.rewiring.layer import Layer

Layers = Mapping[str, Layer]
Redistribute = Callable[[Layers], dict[str, float]]


def momentum(layers: Layers) -> dict[str, float]:
    return {name: layer.mean_over_active(layer.momentum) for name, layer in layers.items()}


def magnitude(layers: Layers) -> dict[str, float]:
    return {name: layer.mean_over_active(layer.magnitude) for name, layer in layers.items()}


def nonzeros(layers: Layers) -> dict[str, float]:
    return {name: float((layer.mask & (layer.weight != 0)).count_nonzero()) for name, layer in layers.items()}


def size(layers: Layers) -> dict[str, float]:
    return {name: float(layer.size) for name, layer in layers.items()}


def variance(layers: Layers) -> dict[str, float]:
    return {name: layer.mean_over_active(layer.deviation) for name, layer in layers.items()}
