"""One update of a topology: how many leave, which, how layers share what grows, which grow. Pure: masks in, masks out.

    thin        from A active weights to the K <= A that the rule wants now: the smallest |w| go, of all layers
                together, or of each layer as many as bring all to one density, as far as they have the weights
    drop        r_l = fraction * A_l of each layer, rounded as the rule says
    share       g_l with sum g_l = K - survivors, proportional to the importance of a layer and at most its free places,
                by water-filling and largest remainder; without redistribution g_l is what the layer lost
    grow        g_l free weights of each layer

The number of active weights after an update is K to the weight, whatever the criteria (the released controller of
sparse momentum was up to 2 % off). Not from the papers: a layer that lost its last weight gets one back at least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from sparse_ortho.budgets import fill
from sparse_ortho.rewiring.drops import Counts, Drop, Layers, Marks, Memory, lowest
from sparse_ortho.rewiring.growth import Grow
from sparse_ortho.rewiring.shares import Redistribute

NEARLY_DENSE = 0.2  # share of free places below which sparse momentum spares a layer that gains


@dataclass(frozen=True)
class Criteria:
    drop: Drop
    grow: Grow
    redistribute: Redistribute | None = None  # None: each layer gets back what it lost
    round_up: bool = False  # r_l
    spare_dense: bool = False  # a nearly dense layer that gains loses no larger share than it has free places
    may_return: bool = True  # whether what has just been dropped may grow at once


@dataclass(frozen=True)
class Change:
    """What an update did: the masks after it, and which of their weights have grown in it."""

    masks: Marks
    grown: Marks


def update(
    layers: Layers, criteria: Criteria | None, fraction: float, total: int, memory: Memory, evenly: bool = False
) -> Change:
    """Masks with exactly `total` active weights; without criteria, or with nothing to drop, weights only leave."""
    masks = {name: layer.mask for name, layer in layers.items()}
    grown = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    if total < sum(layer.active for layer in layers.values()):
        masks = thinned(layers, total, evenly)
        layers = {name: replace(layer, mask=masks[name]) for name, layer in layers.items()}
    if criteria is None or fraction <= 0:
        return Change(masks, grown)
    importance = criteria.redistribute(layers) if criteria.redistribute else None
    gone = criteria.drop(layers, leaving(layers, criteria, fraction, importance), memory)
    barred = {name: None if criteria.may_return else gone[name] for name in layers}
    left = {n: replace(layer, mask=layer.mask & ~gone[n], barred=barred[n]) for n, layer in layers.items()}
    lost = {name: layers[name].active - left[name].active for name in layers}
    grown = criteria.grow(left, coming(left, lost, importance))
    return Change({name: layer.mask | grown[name] for name, layer in left.items()}, grown)


def thinned(layers: Layers, total: int, evenly: bool) -> Marks:
    """Masks without the smallest weights."""
    active = {name: layer.active for name, layer in layers.items()}
    gone: int | dict[str, int] = sum(active.values()) - total
    if evenly:
        kept = fill({name: float(layer.size) for name, layer in layers.items()}, active, total)
        gone = {name: active[name] - kept[name] for name in active}
    marks = lowest(layers, {name: layer.magnitude for name, layer in layers.items()}, gone)
    return {name: layer.mask & ~marks[name] for name, layer in layers.items()}


def leaving(layers: Layers, criteria: Criteria, fraction: float, importance: Mapping[str, float] | None) -> Counts:
    """r_l of each layer."""
    counts = {}
    total = sum(importance.values()) if importance else 0.0
    for name, layer in layers.items():
        rate, free = fraction, layer.size - layer.active
        gains = importance is not None and importance[name] * len(layers) > total
        if criteria.spare_dense and gains and free < NEARLY_DENSE * layer.size:
            rate = min(rate, free / layer.size)
        wanted = round(rate * layer.active, 6)  # in binary 0.07 * 100 is more than 7, and would be rounded up to 8
        count = math.ceil(wanted) if criteria.round_up else math.floor(wanted)
        counts[name] = count if criteria.may_return else min(count, free)
    return counts


def coming(left: Layers, lost: Counts, importance: Mapping[str, float] | None) -> Counts:
    """g_l of each layer: together as many as were lost."""
    wanted = importance if importance and sum(importance.values()) > 0 else lost
    room = {name: int(layer.free.count_nonzero()) for name, layer in left.items()}
    emptied = {name: int(layer.active == 0 and lost[name] > 0) for name, layer in left.items()}
    return fill(wanted, room, sum(lost.values()), emptied)
