"""Which inactive weights come: `grow(layers, counts)` -> the weights that grow, by layer.

Exactly counts[l] free weights of each layer, or as many in all where the layers compete; of equals the first ones.

    random            uniformly, from the stream of the layer and the step (SET, Mocanu et al., 2018)
    gradient          the largest |dL/dw| of the last batch (RigL, Evci et al., ICML 2020)
    momentum          the largest |m| (sparse momentum, Dettmers, Zettlemoyer, arXiv 1907.04840)
    momentum_neuron   the units of a layer share its weights by their mean |m|; in each the largest |m|
    global_momentum   the largest |m| of all layers together

Not from the papers: exact counts. Released code draws Bernoulli variables; lets active weights take places that they
have already, so that layers with few informative candidates shrink; and leaves out units with fewer than ten places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from sparse_ortho.budgets import fill
from sparse_ortho.masks import select
from sparse_ortho.rewiring.layer import Layer

Layers = Mapping[str, Layer]
Counts = Mapping[str, int]
Marks = dict[str, torch.Tensor]
Grow = Callable[[Layers, Counts], Marks]


def random(layers: Layers, counts: Counts) -> Marks:
    return {name: _drawn(layer, counts[name]) for name, layer in layers.items()}


def gradient(layers: Layers, counts: Counts) -> Marks:
    return highest(layers, {name: layer.steepness for name, layer in layers.items()}, counts)


def momentum(layers: Layers, counts: Counts) -> Marks:
    return highest(layers, {name: layer.momentum for name, layer in layers.items()}, counts)


def momentum_neuron(layers: Layers, counts: Counts) -> Marks:
    return {name: _by_unit(layer, counts[name]) for name, layer in layers.items()}


def global_momentum(layers: Layers, counts: Counts) -> Marks:
    return highest(layers, {name: layer.momentum for name, layer in layers.items()}, sum(counts.values()))


def highest(layers: Layers, scores: Mapping[str, torch.Tensor], counts: Counts | int) -> Marks:
    return select(scores, counts, {name: layer.free for name, layer in layers.items()})


def _drawn(layer: Layer, count: int) -> torch.Tensor:
    """Drawn on the CPU, so that it depends on no device."""
    grown = torch.zeros(layer.size, dtype=torch.bool)
    if count:
        assert layer.rng is not None
        places = layer.free.reshape(-1).cpu().nonzero().view(-1)
        grown[places[torch.from_numpy(layer.rng().choice(len(places), count, replace=False))]] = True
    return grown.view(layer.mask.shape).to(layer.mask.device)


def _by_unit(layer: Layer, count: int) -> torch.Tensor:
    """Units (rows) share the count like layers do: in proportion, as far as they have room, by largest remainder."""
    score, free = layer.momentum.flatten(1), layer.free.flatten(1)  # (units, inputs)
    shares, room = score.to(torch.float64).mean(1).tolist(), free.sum(1).tolist()
    units = [str(unit) for unit in range(len(room))]
    quota = fill(dict(zip(units, shares, strict=True)), dict(zip(units, room, strict=True)), count)
    order = torch.where(free, score, -1.0).argsort(dim=1, descending=True, stable=True)
    quotas = torch.tensor([quota[unit] for unit in units], device=score.device)
    first = torch.arange(score.shape[1], device=score.device) < quotas[:, None]  # (units, inputs), by rank
    return torch.zeros_like(free).scatter_(1, order, first).view(layer.mask.shape)
