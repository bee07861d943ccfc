"""One update of a topology: how many leave, which, how layers share what grows, which grow. Pure: masks in, masks out.

    thin        from A active weights to the K <= A that the rule wants now: the smallest |w| go, of all layers
                together, or of each layer as many as bring all to one density, as far as they have the weights
    drop        r_l = fraction * A_l of each layer, rounded as the rule says; or as many in all, where layers compete
    share       g_l with sum g_l = K - survivors, proportional to the importance of a layer and at most its free places,
                by water-filling and largest remainder; without redistribution g_l is what the layer lost
    grow        g_l free weights of each layer

The number of active weights after an update is K to the weight, whatever the criteria (the released controller of
sparse momentum was up to 2 % off). Not from the papers: a layer that lost its last weight gets one back at least.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sparse_ortho.budgets import fill
from sparse_ortho.errors import UserError
from sparse_ortho.rewiring.counting import counts as count_each
from sparse_ortho.rewiring.drops import Counts, Drop, Layers, Marks, Memory, lowest, magnitude
from sparse_ortho.rewiring.growth import Grow
from sparse_ortho.rewiring.norms import normalised
from sparse_ortho.rewiring.shares import Redistribute
from sparse_ortho.signatures import options_of

NEARLY_DENSE = 0.2  # share of free places below which sparse momentum spares a layer that gains


@dataclass(frozen=True)
class Criteria:
    drop: Drop
    grow: Grow | None  # None: a rule that only thins out
    redistribute: Redistribute | None = None  # None: each layer gets back what it lost
    round_up: bool = False  # r_l
    spare_dense: bool = False  # a nearly dense layer that gains loses no larger share than it has free places
    may_return: bool = True  # whether what has just been dropped may grow at once
    scope: str = "layer"  # "global": the layers compete in the drop
    normalize: str = "none"  # scores in parts of the sum or maximum of their layer, output or input
    norm_type: str = "sum"
    gamma: float = 1.0  # of a drop that has it
    temperature: float = 200.0  # of a drop that has it

    def text(self) -> str:
        """Options and functions by their names; without addresses, which change from process to process."""
        return repr({k: f"{v.__module__}:{v.__qualname__}" if callable(v) else v for k, v in vars(self).items()})


@dataclass(frozen=True)
class Change:
    """What an update did: the masks after it, and which of their weights have grown in it."""

    masks: Marks
    grown: Marks


Watcher = Callable[[Layers, Counts, Marks], None]  # sees the layers before the drop, r_l, and what has been dropped


def update(
    layers: Layers,
    criteria: Criteria | None,
    fraction: float,
    total: int,
    memory: Memory,
    evenly: bool = False,
    watcher: Watcher | None = None,
) -> Change:
    """Masks with exactly `total` active weights; without criteria, or with nothing to drop, weights only leave."""
    masks = {name: layer.mask for name, layer in layers.items()}
    grown = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    if total < sum(layer.active for layer in layers.values()):
        masks = thinned(layers, total, evenly, criteria if criteria and criteria.grow is None else None, memory)
        active = count_each(masks)
        layers = {name: layer.with_mask(masks[name], active[name]) for name, layer in layers.items()}
    if criteria is None or criteria.grow is None or fraction <= 0:
        return Change(masks, grown)
    importance = shares_of(layers, criteria.redistribute) if criteria.redistribute else None
    leave = leaving(layers, criteria, fraction, importance)
    gone = dropped(layers, criteria, leave, memory)
    if watcher:
        watcher(layers, leave, gone)
    lost = count_each(gone)
    free = sum(layer.room for layer in layers.values())
    bar = not criteria.may_return and sum(lost.values()) <= free  # a drop that decides by itself may ask for more
    left = {
        n: layer.with_mask(layer.mask & ~gone[n], layer.active - lost[n], gone[n] if bar else None)
        for n, layer in layers.items()
    }
    come = coming(left, lost, importance, bar)
    grown = fitting(criteria.grow(left, come), left, criteria.grow)
    grown = {name: layer.free & grown[name].bool() for name, layer in left.items()}
    if (came := sum(count_each(grown).values())) != (wanted := sum(come.values())):
        raise UserError(criteria.grow.__qualname__, f"let {came} free weights grow where {wanted} were asked for")
    return Change({name: layer.mask | grown[name] for name, layer in left.items()}, grown)


def dropped(layers: Layers, criteria: Criteria, counts: Counts, memory: Memory) -> Marks:
    """What leaves: marks as the criterion gives them, of scores the lowest."""
    found = judged(layers, criteria, counts, memory)
    if all(values.dtype == torch.bool for values in found.values()):
        return {name: layer.mask & found[name] for name, layer in layers.items()}
    return lowest(layers, found, sum(counts.values()) if criteria.scope == "global" else counts)


def judged(layers: Layers, criteria: Criteria, counts: Counts, memory: Memory) -> Mapping[str, torch.Tensor]:
    """What the drop says: marks, or scores as the rule wants them normalised."""
    told = {option: getattr(criteria, option) for option in told_to(criteria.drop)}
    found = fitting(criteria.drop(layers, counts, memory, **told), layers, criteria.drop)
    if all(values.dtype == torch.bool for values in found.values()):
        return found
    return normalised(found, layers, criteria.normalize, criteria.norm_type)


@functools.cache
def told_to(drop: Drop) -> tuple[str, ...]:
    """The options of a rule that its drop takes."""
    return tuple(name for name in options_of(drop) if name in ("gamma", "scope", "temperature"))


def fitting(
    found: Mapping[str, torch.Tensor], layers: Layers, function: Callable[..., Any]
) -> Mapping[str, torch.Tensor]:
    """A tensor a layer, as large as it: functions may be the user's own."""
    for name, layer in layers.items():
        shape = found[name].shape if isinstance(found, Mapping) and name in found else None
        if shape != layer.mask.shape:
            problem = f"must return a tensor of shape {tuple(layer.mask.shape)} for layer {name!r}"
            raise UserError(function.__qualname__, problem, found="none" if shape is None else tuple(shape))
    return found


def thinned(
    layers: Layers, total: int, evenly: bool, criteria: Criteria | None = None, memory: Memory | None = None
) -> Marks:
    """Masks without the smallest weights, or without the lowest scores of the drop of a rule that only thins out."""
    active = {name: layer.active for name, layer in layers.items()}
    kept = fill({name: float(layer.size) for name, layer in layers.items()}, active, total)
    each = {name: active[name] - kept[name] for name in active}
    scores = magnitude(layers, each, {})
    if criteria is not None:
        scores = judged(layers, criteria, each, {} if memory is None else memory)
        if any(values.dtype == torch.bool for values in scores.values()):
            raise UserError(criteria.drop.__qualname__, "marks what leaves; to thin out, a drop must give scores")
    marks = lowest(layers, scores, each if evenly else sum(active.values()) - total)
    return {name: layer.mask & ~marks[name] for name, layer in layers.items()}


def shares_of(layers: Layers, redistribute: Redistribute) -> Mapping[str, float]:
    found = redistribute(layers)
    for name in layers:
        if not (name in found and math.isfinite(found[name]) and found[name] >= 0):
            problem = f"must return a number of at least 0 for layer {name!r}"
            raise UserError(redistribute.__qualname__, problem, found=found.get(name))
    return found


def leaving(layers: Layers, criteria: Criteria, fraction: float, importance: Mapping[str, float] | None) -> Counts:
    """r_l of each layer."""
    counts = {}
    total = sum(importance.values()) if importance else 0.0
    for name, layer in layers.items():
        rate, free = fraction, layer.room
        gains = importance is not None and importance[name] * len(layers) > total
        if criteria.spare_dense and gains and free < NEARLY_DENSE * layer.size:
            rate = min(rate, free / layer.size)
        wanted = round(rate * layer.active, 6)  # in binary 0.07 * 100 is more than 7, and would be rounded up to 8
        count = math.ceil(wanted) if criteria.round_up else math.floor(wanted)
        counts[name] = count if criteria.may_return else min(count, free)
    return counts


def coming(left: Layers, lost: Counts, importance: Mapping[str, float] | None, barred: bool = False) -> Counts:
    """g_l of each layer: together as many as were lost."""
    wanted = importance if importance and sum(importance.values()) > 0 else lost
    room = {name: layer.room - (lost[name] if barred else 0) for name, layer in left.items()}
    emptied = {name: int(layer.active == 0 and lost[name] > 0) for name, layer in left.items()}
    if wanted is lost and all(lost[name] <= room[name] for name in left):
        return lost
    if barred:  # an emptied layer without another place cannot get one back
        emptied = {name: min(emptied[name], room[name]) for name in left}
    return fill(wanted, room, sum(lost.values()), emptied)
