"""Measured quantities put to the cells that planned them: number, mean and range over seeds, and who is not there."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.report.multiples import Point, summarised


def measured(
    exhibit: str, cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]], quantities: Sequence[str]
) -> dict[tuple[str, str], Point]:
    """By cell and quantity; a planned seed without a finite value is `refused`, or else `missing`."""
    planned = {(cell["id"], seed) for cell in cells for seed in cell["seeds"]}
    values: dict[tuple[str, str], dict[int, float | None]] = defaultdict(dict)
    refused: set[tuple[str, int]] = set()
    known: set[str] = set()
    for row in rows:
        if (row["cell"], row["seed"]) not in planned:
            continue
        if row["status"] != "ok":  # what diverged in training has nothing to be measured either
            refused.add((row["cell"], row["seed"]))
            continue
        found, value = values[row["cell"], row["quantity"]], row["value"]
        if row["seed"] in found:
            raise UserError(row["cell"], f"there are two values of {row['quantity']} for seed {row['seed']}")
        found[row["seed"]] = value if value is not None and math.isfinite(value) else None
        known.add(row["quantity"])
    for name in quantities:
        if known and name not in known:  # nothing measured yet is no mistake
            raise UserError(f"exhibit {exhibit}, quantities", found=name, allowed=sorted(known))
    return {
        (cell["id"], name): _point(
            values[cell["id"], name], [(seed, (cell["id"], seed) in refused) for seed in cell["seeds"]]
        )
        for cell in cells
        for name in quantities
    }


def _point(found: Mapping[int, float | None], planned: Sequence[tuple[int, bool]]) -> Point:
    """Seeds in the order planned; a refused one has no value, whatever else is said of it."""
    values = [found.get(seed) for seed, refused in planned if not refused]
    point = summarised([value for value in values if value is not None])
    refused = sum(refused for _, refused in planned)
    return point | {"planned": len(planned), "refused": refused, "missing": len(planned) - refused - point["n"]}
