"""One level of iterative pruning: of the weights that are left, the best by a score stay.

Frankle, Carbin, "The Lottery Ticket Hypothesis", ICLR 2019, arXiv 1803.03635: train, prune the smallest magnitudes,
rewind, again. A level keeps exactly

    floor((1 - rate) n + 1/2)  of n weights,   or   floor(density N + 1/2)  of all N that may be pruned

and nothing comes back. `global`: all weights compete (ToST's pruning, Tanaka's multishot). `each`: every layer loses
the same share, as in the released lottery ticket script, here without its normalisation layers. The name of a density
scheme: its counts for the total, as far as a layer has weights left (Gadhikar's nested random masks).

Not from the papers: exact counts, where released code compares with a threshold and so removes all ties, or removes
weights that the masks of the level before had removed already; other scores than magnitude. A score with `rounds` takes
them within the level, from its n weights to those that stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import nn

from sparse_ortho import budgets, masks, schedules
from sparse_ortho.errors import UserError
from sparse_ortho.probe import Probe
from sparse_ortho.signatures import method, options_of
from sparse_ortho.streams import Streams

Marks = dict[str, torch.Tensor]
Share = Callable[[Mapping[str, tuple[int, ...]], int], dict[str, int]]
PATHS = {name: getattr(schedules, name) for name in ("cosine", "cubic", "exponential", "linear")}


def prunable(model: nn.Module, tensors: Literal["all", "conv"], exclude: tuple[str, ...]) -> dict[str, nn.Parameter]:
    """The weights that a ladder prunes, in the order of the network."""
    found = masks.maskable(model)
    ends = {"first": next(iter(found)), "last": next(reversed(found))}
    patterns = [ends.get(word, word) for word in exclude]
    for word, pattern in zip(exclude, patterns, strict=True):
        if not any(fnmatchcase(name, pattern) for name in found):
            raise UserError("ticket.exclude", "matches no weight", found=word, allowed=[*ends, *found])
    kept = {
        name: weight
        for name, weight in found.items()
        if (tensors == "all" or weight.dim() > 2) and not any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    if not kept:
        told = f"tensors={tensors}, exclude={list(exclude)}"
        raise UserError("ticket", f"no weight of this network is left to prune ({told})", allowed=found)
    return kept


def budget_of(active: Mapping[str, torch.Tensor], *, rate: float | None, density: float | None) -> int:
    """How many weights a level keeps of those that are left."""
    left, size = sum(counted(active).values()), sum(mask.numel() for mask in active.values())
    if density is None:
        return budgets.budget(1 - Decimal(str(rate)), left, "ticket.rate")
    wanted = budgets.budget(density, size, "ticket.density")
    if wanted > left:
        raise UserError("ticket.density", f"is above the {left / size:.6g} that is left to prune", found=density)
    return wanted


def shared(
    active: Mapping[str, torch.Tensor], *, rate: float | None, density: float | None, layers: str, scheme: Share | None
) -> int | dict[str, int]:
    """The budget of a level: one number where all weights compete, otherwise a number for each layer."""
    total = budget_of(active, rate=rate, density=density)
    if layers == "global":
        return total
    left = counted(active)
    if layers == "each":
        if density is None:
            return {name: budgets.budget(1 - Decimal(str(rate)), count) if count else 0 for name, count in left.items()}
        return budgets.fill(left, left, total)
    assert scheme is not None
    wanted = scheme({name: tuple(mask.shape) for name, mask in active.items()}, total)
    return budgets.fill(wanted, left, total)


def pruned(
    probe: Probe,
    active: Mapping[str, torch.Tensor],
    counts: int | dict[str, int],
    streams: Streams,
    score: str,
    options: Mapping[str, Any],
) -> Marks:
    """The masks of the best weights among the active ones; `probe.weights` are 0 where they are not active."""
    function = method("scores", score, options, data=probe.batches)
    told = {**options_of(function), **options}
    rounds = told.get("rounds", 1)
    kept = dict(active)
    if rounds > 1:
        probe = replace(probe, whole=probe.weights, memo={})
    for fewer in _path(counted(active), counts, rounds, PATHS[told.get("path", "exponential")]):
        left = {name: weight * kept[name].to(weight) for name, weight in probe.weights.items()}
        scores = function(replace(probe, weights=left), streams, **options)
        kept = masks.select({name: scores[name].detach().cpu() for name in active}, fewer, kept)
    return kept


def counted(active: Mapping[str, torch.Tensor]) -> dict[str, int]:
    return {name: int(mask.count_nonzero()) for name, mask in active.items()}


def _path(
    left: Mapping[str, int], counts: int | dict[str, int], rounds: int, path: Callable[[float, float], float]
) -> list[int | dict[str, int]]:
    """What each round keeps, down from what is left, and in the last one exactly `counts`."""

    def at(t: float, count: int, size: int) -> int:
        return max(count, math.floor(size * path(t, count / size) + 0.5)) if size and count else count

    times = [(r + 1) / rounds for r in range(rounds - 1)]
    if isinstance(counts, int):
        return [*(at(t, counts, sum(left.values())) for t in times), counts]
    return [*({name: at(t, count, left[name]) for name, count in counts.items()} for t in times), counts]
