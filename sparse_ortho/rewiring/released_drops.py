"""Drops of the released program of sparse momentum, with its counts: (layers, rates, memory) -> masks that are left.

    r_l = ceil(p_l A_l),  z_l masked places of layer l;  sorts are stable, which there depends on the device

    magnitude          the first z + r places of the sorted |w| of the whole tensor leave: where more than r active
                       weights are exactly 0 more may go; r = 0 lets active zeros go
    set                one of four attempts, see VERSIONS
    global_magnitude   |w| > tau for all layers; tau is multiplied by 1 -+ increment until ceil(p K) are gone, +-2 %,
                       or the number stays; p is the last layer's, the increment shrinks by 1 % a try for ever
    threshold          |w| > tau for all layers; tau moves after the update (v0.1, see the controller)
    magnitude_variance the lowest product of both; with eps, where there v = 0 gave no number

The search for tau ends after 1,000 tries at the latest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from sparse_ortho.rewiring import drops
from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.drops import Layers, Marks, Memory
from sparse_ortho.rewiring.layer import Layer

TRIES, TOLERANCE = 1000, 0.02
Rates = Mapping[str, float]
VERSIONS = ("v0.1", "v1.0", "master", "random_pruning")


def magnitude(layers: Layers, rates: Rates, memory: Memory, version: str, baseline: float) -> Marks:
    return {name: _smallest(layer, _removed(layer, rates[name])) for name, layer in layers.items()}


def signed(layers: Layers, rates: Rates, memory: Memory, version: str, baseline: float) -> Marks:
    """Meant: r/2 of the smallest positive and r/2 of the largest negative leave.

    v0.1             the smallest positive, and of the negative the most negative
    v1.0             the ceil(z + r/2) smallest |w|, and the most negative
    master           all but the most negative
    random_pruning   the smallest positive, and of the negative all but the most negative (Liu et al., ICLR 2022)
    """
    return {name: SIGNED[version](layer, _removed(layer, rates[name])) for name, layer in layers.items()}


def global_magnitude(layers: Layers, rates: Rates, memory: Memory, version: str, baseline: float) -> Marks:
    goal = math.ceil(list(rates.values())[-1] * baseline)
    tau, increment, before = memory.get("tau", 0.001), memory.get("increment", 0.2), None
    for _ in range(TRIES):
        gone = sum(counts({n: layer.mask & (layer.magnitude <= tau) for n, layer in layers.items()}).values())
        if gone == before or abs(gone - goal) <= goal * TOLERANCE:
            break
        before, tau = gone, tau * (1 - increment if gone > goal else 1 + increment)
        increment *= 0.99
    memory["tau"], memory["increment"] = tau, increment
    return {name: layer.mask & (layer.magnitude > tau) for name, layer in layers.items()}


def threshold(layers: Layers, rates: Rates, memory: Memory, version: str, baseline: float) -> Marks:
    tau = memory.get("tau", 0.001)
    return {name: layer.mask & (layer.magnitude > tau) for name, layer in layers.items()}


def magnitude_variance(layers: Layers, rates: Rates, memory: Memory, version: str, baseline: float) -> Marks:
    asked = {name: _removed(layer, rates[name]) for name, layer in layers.items()}
    gone = drops.lowest(layers, drops.magnitude_variance(layers, asked, {}), asked)
    return {name: layer.mask & ~gone[name] for name, layer in layers.items()}


def _removed(layer: Layer, rate: float) -> int:
    return min(math.ceil(rate * layer.active), layer.active)


def _smallest(layer: Layer, count: int) -> torch.Tensor:
    if count == 0:
        return layer.mask & (layer.weight != 0)
    return _without(layer.mask, layer.magnitude, layer.size - layer.active + count)


def _without(mask: torch.Tensor, values: torch.Tensor, count: int) -> torch.Tensor:
    """`mask` without the first places of the sorted values."""
    order = values.reshape(-1).argsort(stable=True)[:count]
    return mask.reshape(-1).index_fill(0, order, False).view(mask.shape)


def _lowest(values: torch.Tensor, count: int) -> torch.Tensor:
    return ~_without(torch.ones_like(values, dtype=torch.bool), values, count)


def _v0_1(layer: Layer, count: int) -> torch.Tensor:
    positive, negative = layer.mask & (layer.weight > 0), layer.mask & (layer.weight < 0)
    smallest = positive & _lowest(torch.where(positive, layer.weight, torch.inf), math.ceil(count / 2))
    return layer.mask & ~smallest & ~(negative & _lowest(layer.weight, math.ceil(count / 2)))


def _v1_0(layer: Layer, count: int) -> torch.Tensor:
    return _large(layer, count) & ~_lowest(layer.weight, math.ceil(count / 2))


def _master(layer: Layer, count: int) -> torch.Tensor:
    return _large(layer, count) & _lowest(layer.weight, math.ceil(count / 2))


def _large(layer: Layer, count: int) -> torch.Tensor:
    return _without(layer.mask, layer.magnitude, math.ceil(layer.size - layer.active + count / 2))


def _random_pruning(layer: Layer, count: int) -> torch.Tensor:
    positive, negative = layer.mask & (layer.weight > 0), layer.mask & (layer.weight < 0)
    smallest = positive & _lowest(torch.where(positive, layer.weight, torch.inf), math.ceil(count / 2))
    return layer.mask & ~smallest & ~(negative & ~_lowest(layer.weight, math.ceil(count / 2)))


SIGNED: Mapping[str, Callable[[Layer, int], torch.Tensor]] = {
    **{"v0.1": _v0_1, "v1.0": _v1_0},
    **{"master": _master, "random_pruning": _random_pruning},
}
DROPS = {
    "global_magnitude": global_magnitude,
    "magnitude": magnitude,
    "magnitude_variance": magnitude_variance,
    "set": signed,
    "threshold": threshold,
}
