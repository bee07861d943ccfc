"""Growths of the released program of sparse momentum: (layers without what left, numbers, memory) -> masks.

    n_l = floor(g_l) places of layer l; m momentum; sorts are stable, which there depends on the device

    momentum          the first n places of |m| (1 - mask), sorted from the highest: where fewer have momentum the rest
                      of them may be active already, and a negative n makes all places but |n| active
    random            each place with probability n / (free places)
    momentum_neuron   floor(share_i n) at the unit i, the share of its mean |m|; those above the last of them, and none
                      for a unit with fewer than ten
    global_momentum   |m| > tau for all layers; tau is multiplied by 1.02 or 0.98 until 2 % from the sum of all n, or
                      the number stays

Not as released: without momentum in a layer `momentum_neuron` grows nothing (there floor(NaN) ends the program), and
the search for tau ends after 1,000 tries (there it may go on for ever).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.drops import Layers, Marks, Memory
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.released_drops import TOLERANCE, TRIES

LEAST = 10  # of a unit
Numbers = Mapping[str, int]
Grow = Callable[[Layers, Numbers, float, Memory], Marks]


def momentum(layers: Layers, numbers: Numbers, total: float, memory: Memory) -> Marks:
    return {name: _sorted(layer, numbers[name]) for name, layer in layers.items()}


def random(layers: Layers, numbers: Numbers, total: float, memory: Memory) -> Marks:
    return {name: _drawn(layer, numbers[name]) for name, layer in layers.items()}


def momentum_neuron(layers: Layers, numbers: Numbers, total: float, memory: Memory) -> Marks:
    return {name: _by_unit(layer, numbers[name]) for name, layer in layers.items()}


def global_momentum(layers: Layers, numbers: Numbers, total: float, memory: Memory) -> Marks:
    candidates = {name: torch.where(layer.mask, 0, layer.momentum) for name, layer in layers.items()}
    tau, before = memory.get("growth_tau", 0.001), None
    for _ in range(TRIES):
        grown = sum(counts({name: values > tau for name, values in candidates.items()}).values())
        if grown == before or abs(grown - total) <= total * TOLERANCE:
            break
        before, tau = grown, tau * (1.02 if grown > total else 0.98)
    memory["growth_tau"] = tau
    return {name: layer.mask | (candidates[name] > tau) for name, layer in layers.items()}


def _sorted(layer: Layer, count: int) -> torch.Tensor:
    values = torch.where(layer.mask, 0, layer.momentum).reshape(-1)
    order = values.argsort(descending=True, stable=True)[:count]  # a negative count leaves the last |count| out
    return layer.mask.reshape(-1).index_fill(0, order, True).view(layer.mask.shape)


def _drawn(layer: Layer, count: int) -> torch.Tensor:
    free = layer.size - layer.active
    if free == 0:
        return layer.mask
    assert layer.rng is not None
    drawn = torch.from_numpy(layer.rng().random(tuple(layer.mask.shape)) < count / free)
    return layer.mask | drawn.to(layer.mask.device)


def _by_unit(layer: Layer, count: int) -> torch.Tensor:
    values = layer.momentum.reshape(len(layer.mask), -1)  # (units, inputs)
    mask = layer.mask.reshape(values.shape)
    means = values.mean(1)
    if not means.sum() > 0:
        return layer.mask
    numbers = [math.floor(share * count) for share in (means / means.sum()).tolist()]
    numbers = [min(n, free) for n, free in zip(numbers, (~mask).sum(1).tolist(), strict=True)]
    values = torch.where(mask, 0, values)
    last = [values.shape[1] - n if n >= LEAST else values.shape[1] - 1 for n in numbers]
    tau = values.sort(1).values.gather(1, torch.tensor(last, device=values.device)[:, None])
    many = torch.tensor([n >= LEAST for n in numbers], device=values.device)[:, None]
    return (mask | (many & (tau > 0) & (values > tau))).view(layer.mask.shape)


GROWTHS: dict[str, Grow] = {
    "global_momentum": global_momentum,
    "momentum": momentum,
    "momentum_neuron": momentum_neuron,
    "random": random,
}
