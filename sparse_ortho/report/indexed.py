"""Quantities with places, such as `loss/3` and `zero/conv1`: of every planned cell and seed, by name and place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.errors import UserError

Place = tuple[str, ...]
Found = dict[str, dict[Place, float]]  # name -> place -> value, places in the order in which they were measured


def indexed(cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Found]:
    """By cell and seed; what was refused, diverged or is not finite is not there. A plain quantity has the place ()."""
    planned = {(cell["id"], seed) for cell in cells for seed in cell["seeds"]}
    found: dict[tuple[str, int], Found] = {}
    for row in rows:
        key = (row["cell"], row["seed"])
        if key not in planned or row["status"] != "ok" or row["value"] is None or not math.isfinite(row["value"]):
            continue
        name, *place = row["quantity"].split("/")
        values = found.setdefault(key, {}).setdefault(name, {})
        if tuple(place) in values:
            raise UserError(row["cell"], f"there are two values of {row['quantity']} for seed {row['seed']}")
        values[tuple(place)] = row["value"]
    return found


def check_names(exhibit: str, role: str, names: Iterable[str], found: Mapping[Any, Found]) -> None:
    """Every name is that of something measured; nothing measured yet is no mistake."""
    known = {name for values in found.values() for name in values}
    for name in names:
        if known and name not in known:
            raise UserError(f"exhibit {exhibit}, {role}", found=name, allowed=sorted(known))


def first_seed(cell: Mapping[str, Any], found: Mapping[tuple[str, int], Found]) -> tuple[int, Found] | None:
    """What the first seed of a cell that has anything has."""
    for seed in cell["seeds"]:
        if (cell["id"], seed) in found:
            return seed, found[cell["id"], seed]
    return None
