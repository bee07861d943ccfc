"""Masks of whole units: the counterpart of `masks.select` for structures.

Budgets are weights. All layers together keep at most what was asked for, and no unit that is left would still fit (in
rounds: that the last round left): a layer keeps its best units as long as they fit into its own count, what this leaves
is spent where the largest part of a unit is missing. Units that depend on scores are numbered anew in every round,
among the weights that are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.masks import groups_of
from sparse_ortho.probe import Probe
from sparse_ortho.registry import beside
from sparse_ortho.signatures import method, options_of
from sparse_ortho.structures.units import Structure, Units, check_ratio

Counts = int | Mapping[str, int]


@dataclass(frozen=True)
class Structured:
    """A structure with its options on the layers of a model."""

    name: str
    structure: Structure
    options: Mapping[str, Any]
    groups: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    drawn: bool  # the score reads nothing: one draw a unit, where units do not depend on scores

    def units(self, scores: Mapping[str, np.ndarray] | None = None) -> dict[str, Units]:
        flat = {n: np.broadcast_to(np.float64(0), s) for n, s in self.shapes.items()} if scores is None else scores
        return {n: self.structure(layer, self.groups.get(n, 1), **self.options) for n, layer in flat.items()}

    def places(self, probe: Probe) -> Probe:
        """What a score that is drawn sees: a weight a unit."""
        if not self.drawn:
            return probe
        return replace(probe, weights={n: torch.empty(units.grid, device="meta") for n, units in self.units().items()})

    def fixed(self, density: float | None) -> dict[str, int] | None:
        """The counts of a structure that has one density alone, which `density` is if it is given."""
        found = {n: units for n, units in self.units().items() if units.keep is not None}
        if found and density is not None:
            over, under = beside("structures", self.name, "DENSITY", (None, None))
            options = {**options_of(self.structure), **self.options}
            check_ratio(density, options[over], options[under], self.name)
        return {n: int(units.sizes[: units.keep].sum()) for n, units in found.items()} or None

    def check(self, counts: Counts) -> None:
        """Budgets under one unit are refused."""
        asked = counts if isinstance(counts, int) else sum(counts.values())
        sizes = [units.sizes for units in self.units().values()]
        total, least = sum(int(s.sum()) for s in sizes), min(int(s[s > 0].min()) for s in sizes)
        if asked < least:
            raise UserError(
                "density",
                f"the smallest {self.name} of these layers has more weights than are kept ({asked} of {total})",
                found=float(f"{asked / total:.6g}"),
                allowed=f"[{least / total:.6g}, 1] ({least} to {total} weights)",
            )

    def spread(self, kept: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Masks of units as masks of weights."""
        units = self.units()
        return {n: torch.from_numpy(units[n].weights(mask.numpy())) for n, mask in kept.items()}

    def select(
        self, scores: Mapping[str, torch.Tensor], counts: Counts, among: Mapping[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """Masks of the best units, of `among` alone if given."""
        arrays = {n: score.double().numpy() for n, score in scores.items()}
        for name, score in arrays.items():
            if np.isnan(score).any():
                raise UserError(name, "the score of this layer is not a number (NaN) for some weights")
        left = {n: mask.numpy() for n, mask in among.items()} if among is not None else None
        if self.drawn:
            units, worth = self.units(), {n: score.reshape(-1) for n, score in arrays.items()}
        else:
            if left is not None:
                arrays = {n: np.where(left[n], score, -np.inf) for n, score in arrays.items()}
            units = self.units(arrays)
            worth = {n: units[n].worth(score) for n, score in arrays.items()}
        open_ = {n: (u.sizes > 0) & (True if left is None else u.within(left[n])) for n, u in units.items()}
        kept = chosen(units, worth, open_, counts)
        return {n: torch.from_numpy(units[n].weights(mask)) for n, mask in kept.items()}


def structured(structure: str | Mapping[str, Any], probe: Probe, reads_nothing: bool) -> Structured:
    """The structure that a name, or a mapping with `name` and options, means for the layers of `probe`."""
    given = {"name": structure} if isinstance(structure, str) else dict(structure)
    name = given.pop("name", None)
    function = method("structures", name, given)  # type: ignore[arg-type]
    made = Structured(name or "", function, given, groups_of(probe.model), probe.shapes, False)
    return replace(made, drawn=reads_nothing and not any(units.nested for units in made.units().values()))


def chosen(
    units: Mapping[str, Units], worth: Mapping[str, np.ndarray], open_: Mapping[str, np.ndarray], counts: Counts
) -> dict[str, np.ndarray]:
    """Which units are kept, by layer."""
    sizes = {n: u.sizes for n, u in units.items()}
    if isinstance(counts, int):
        whole = [np.concatenate([part[n] for n in units]) for part in (worth, sizes, open_)]
        kept = _fitting(whole[0], whole[1], whole[2], counts)
        return dict(zip(units, np.split(kept, np.cumsum([len(sizes[n]) for n in units])[:-1]), strict=True))
    if counts.keys() != units.keys():
        raise UserError("counts", "one number a layer", found=sorted(counts), allowed=units)
    if any(u.keep is not None for u in units.values()):  # rounds on the way there keep as many of every m too
        return {n: np.arange(len(sizes[n])) < max(u.keep or 0, _first(sizes[n], counts[n])) for n, u in units.items()}
    kept = {n: _fitting(worth[n], sizes[n], open_[n], counts[n]) for n in units}
    short = {n: counts[n] - int(sizes[n][mask].sum()) for n, mask in kept.items()}
    left, missing = sum(short.values()), {n: -short[n] / max(1, sizes[n].max()) for n in units}
    order, tried = sorted(units, key=lambda n: missing[n]), True
    while left > 0 and tried:
        tried = False
        for name in order:
            fits = np.flatnonzero(open_[name] & ~kept[name] & (sizes[name] <= left))
            if len(fits):
                best = fits[np.argmax(worth[name][fits])]
                kept[name][best], tried = True, True
                left -= int(sizes[name][best])
    return kept


def _first(sizes: np.ndarray, budget: int) -> int:
    """How many of the first units fit."""
    return int(np.searchsorted(np.cumsum(sizes), budget, side="right"))


def _fitting(worth: np.ndarray, sizes: np.ndarray, open_: np.ndarray, budget: int) -> np.ndarray:
    """The best open units one after the other, those left out that do not fit any more; ties by index."""
    kept = np.zeros(len(worth), dtype=bool)
    left = np.flatnonzero(open_)
    left = left[np.argsort(-worth[left], kind="stable")]
    while len(left):  # once for every size at most: where it stops, no unit of that size fits any more
        total = np.cumsum(sizes[left])
        fit = int(np.searchsorted(total, budget, side="right"))
        kept[left[:fit]] = True
        budget -= int(total[fit - 1]) if fit else 0
        left = left[fit:]
        left = left[sizes[left] <= budget]
    return kept
