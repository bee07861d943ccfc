"""Results of trainings against a number, as `lines` draws measurements: accuracy against density, by method and mask.

`quantities` are metrics of records, a row of panels each. `x` is an axis of the cells, such as rule.final_density, or
`measured_density`: the mean over the seeds of what the networks have kept, for methods that decide it themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.report import lines

READS = "records"  # what its rule hands it, read by the plan
MEASURED = "measured_density"
Row = Mapping[str, Any]


def render(exhibit: Row, cells: Sequence[Row], records: Iterable[Row], published: Sequence[Row] = ()) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; a cell without a density has no place on such an x."""
    rows = list(records)
    if exhibit["x"] == MEASURED:
        cells = [placed for cell in cells if (placed := _placed(cell, rows))]
    return lines.render(exhibit, cells, [line for row in rows for line in _lines(row, exhibit["quantities"])])


def _placed(cell: Row, rows: Sequence[Row]) -> dict[str, Any] | None:
    """The cell with its measured density for an axis."""
    found = [row["density"] for row in rows if row["cell"] == cell["id"] and row["seed"] in cell["seeds"]]
    found = [density for density in found if density is not None]
    if not found:
        return None
    return {**cell, "axes": {**cell["axes"], MEASURED: math.fsum(found) / len(found)}}


def _lines(row: Row, quantities: Sequence[str]) -> list[dict[str, Any]]:
    """A record as measurements: what diverged has none."""
    about = {key: row.get(key) for key in ("cell", "seed", "status", "reason")}
    if row["status"] == "refused":
        return [about | {"quantity": None, "value": None}]
    ended = row["status"] == "ok"
    return [about | {"quantity": name, "value": row[name] if ended else None} for name in quantities if name in row]
