"""Several metrics of the same trainings beside each other, such as density and accuracy, or an accuracy after the last
epoch and the best of all epochs: a table whose last column axis is `metric`, with the `quantities` as its values.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.report import tables

READS = "records"  # what its rule hands it, read by the plan
Row = Mapping[str, Any]


def render(exhibit: Row, cells: Sequence[Row], records: Iterable[Row], published: Sequence[Row]) -> dict[str, str]:
    """{"md", "tex", "html", "csv"}; a cell is told once a metric, under its own identity and the metric's name."""
    rows, quantities = list(records), list(exhibit["quantities"])
    known = {name for row in rows for name in row}
    for name in quantities:
        if known and name not in known:
            allowed = sorted(known - {"cell", "seed", "status", "reason"})
            raise UserError(f"exhibit {exhibit['name']}, quantities", found=name, allowed=allowed)
    told = [
        {**cell, "id": f"{cell['id']} {name}", "axes": {**cell["axes"], "metric": name}}
        for cell in cells
        for name in quantities
    ]
    values = [{**row, "cell": f"{row['cell']} {name}", "value": row.get(name)} for row in rows for name in quantities]
    shape = {**exhibit, "columns": [*exhibit["columns"], "metric"], "metric": "value"}
    shown = tables.render(shape, told, values, published)
    return shown | {"csv": _long(shown["csv"])}


def _long(text: str) -> str:
    """One column `metric` with the metric's name, and the cell by its own identity."""
    head, *rows = csv.reader(io.StringIO(text))
    second, cell = len(head) - 1 - head[::-1].index("metric"), head.index("cell")
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(head[:second] + head[second + 1 :])
    for row in rows:
        row[cell], _, row[head.index("metric")] = row[cell].rpartition(" ")
        lines.writerow(row[:second] + row[second + 1 :])
    return written.getvalue()
