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

import numpy as np
import torch

from sparse_ortho.budgets import fill
from sparse_ortho.rewiring.counting import counts as count_each
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.ranking import best

READS = {"momentum": ("momentum",), "momentum_neuron": ("momentum",), "global_momentum": ("momentum",)}
Layers = Mapping[str, Layer]
Counts = Mapping[str, int]
Marks = dict[str, torch.Tensor]
Grow = Callable[[Layers, Counts], Mapping[str, torch.Tensor]]


def random(layers: Layers, counts: Counts) -> Marks:
    free = {name: layer.free for name, layer in layers.items()}
    places = count_each(free)
    return {name: _drawn(layer, free[name], counts[name], places[name]) for name, layer in layers.items()}


def gradient(layers: Layers, counts: Counts) -> Marks:
    return highest(layers, {name: layer.steepness for name, layer in layers.items()}, counts)


def momentum(layers: Layers, counts: Counts) -> Marks:
    return highest(layers, {name: layer.momentum for name, layer in layers.items()}, counts)


def momentum_neuron(layers: Layers, counts: Counts) -> Marks:
    """Units (rows) share the count like layers do: in proportion, as far as they have room, by largest remainder."""
    score = {name: _by_units(layer.momentum) for name, layer in layers.items()}  # (units, inputs)
    free = {name: _by_units(layer.free) for name, layer in layers.items()}
    means, room = (
        _rows({n: s.double().mean(1) for n, s in score.items()}),
        _rows({n: f.sum(1) for n, f in free.items()}),
    )
    grown = {}
    for name, layer in layers.items():
        units = [str(unit) for unit in range(len(room[name]))]
        sizes = {unit: int(number) for unit, number in zip(units, room[name], strict=True)}
        quota = fill(dict(zip(units, means[name], strict=True)), sizes, counts[name])
        order = torch.where(free[name], score[name], -1.0).argsort(dim=1, descending=True, stable=True)
        quotas = torch.tensor([quota[unit] for unit in units], device=order.device)
        first = torch.arange(order.shape[1], device=order.device) < quotas[:, None]  # (units, inputs), by rank
        grown[name] = torch.zeros_like(free[name]).scatter_(1, order, first).view(layer.mask.shape)
    return grown


def global_momentum(layers: Layers, counts: Counts) -> Marks:
    return highest(layers, {name: layer.momentum for name, layer in layers.items()}, sum(counts.values()))


def highest(layers: Layers, scores: Mapping[str, torch.Tensor], counts: Counts | int) -> Marks:
    return best(scores, counts, {name: layer.free for name, layer in layers.items()})


def _drawn(layer: Layer, free: torch.Tensor, count: int, places: int) -> torch.Tensor:
    """Drawn on the CPU, as ranks among the free places, so that it depends on no device and waits for none."""
    assert layer.rng is not None or count == 0
    chosen = torch.from_numpy(layer.rng().choice(places, count, replace=False)) if layer.rng and count else None
    if chosen is None:
        return torch.zeros_like(free)
    if free.device.type == "cpu":
        at = torch.from_numpy(np.flatnonzero(free.numpy()))[chosen]
        return torch.zeros(layer.size, dtype=torch.bool).index_fill_(0, at, True).view(free.shape)
    ranks = torch.zeros(places, dtype=torch.bool).index_fill_(0, chosen, True).to(free.device)
    return ranks[free.reshape(-1).cumsum(0).sub_(1).clamp_min_(0)].view(free.shape) & free


def _rows(values: Mapping[str, torch.Tensor]) -> dict[str, list[float]]:
    """Numbers a unit, those of all layers in one transfer."""
    place = next(iter(values.values())).device
    together = torch.cat([value.to(place) for value in values.values()]).tolist()
    lengths, found = [len(value) for value in values.values()], {}
    for name, length in zip(values, lengths, strict=True):
        found[name], together = together[:length], together[length:]
    return found


def _by_units(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(len(values), -1)
