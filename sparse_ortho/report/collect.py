"""Rows of finished runs, put to the cells that planned them; and all of them in one DataFrame."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_ortho.artifacts import read_tables
from sparse_ortho.errors import UserError
from sparse_ortho.report.text import one_line, show

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]
Key = tuple[str, ...]
FIRST = ("study", "scale", "cell", "data", "model", "mask", "init", "density", "seed", "status", "reason")


@dataclass(frozen=True)
class Runs:
    """One cell and what became of each planned seed; a seed that `rows` lacks is missing."""

    cell: str
    axes: Mapping[str, Any]
    seeds: tuple[int, ...]
    rows: Mapping[int, Row]

    def values(self, name: str) -> list[float]:
        """The metric of the runs that finished, in the order of the seeds."""
        found = [row.get(name) for row in self.rows.values() if row["status"] == "ok"]
        return [float(value) for value in found if value is not None and math.isfinite(value)]

    def counts(self) -> Counter[str]:
        """How many planned seeds ended how."""
        return Counter(self.rows[seed]["status"] if seed in self.rows else "missing" for seed in self.seeds)

    def reasons(self, status: str) -> list[str]:
        """The distinct reasons that runs of this status gave."""
        told = (one_line(row.get("reason") or "") for row in self.rows.values() if row["status"] == status)
        return list(dict.fromkeys(reason for reason in told if reason))


def by_cell(cells: Iterable[Mapping[str, Any]], records: Iterable[Row]) -> list[Runs]:
    """Each cell with its planned seeds' rows; rows of other cells and seeds belong to other exhibits."""
    planned: dict[str, dict[int, Row]] = {}
    cells = list(cells)
    for cell in cells:
        if cell["id"] in planned:
            raise UserError(cell["id"], "this cell appears twice in one exhibit")
        planned[cell["id"]] = {}
    wanted = {(cell["id"], seed) for cell in cells for seed in cell["seeds"]}
    for row in records:
        if (row["cell"], row["seed"]) not in wanted:
            continue
        rows = planned[row["cell"]]
        if row["seed"] in rows:
            raise UserError(row["cell"], f"there are two records of seed {row['seed']}")
        rows[row["seed"]] = row
    return [
        Runs(
            cell["id"],
            cell["axes"],
            tuple(cell["seeds"]),
            {seed: planned[cell["id"]][seed] for seed in cell["seeds"] if seed in planned[cell["id"]]},
        )
        for cell in cells
    ]


def key(axes: Mapping[str, Any], names: Sequence[str]) -> Key:
    return tuple(show(axes.get(name)) for name in names)


def ordered(cells: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[Key]:
    """The keys that occur; grouped by the first axis, then the second, values in the order in which cells name them."""
    keys = list(dict.fromkeys(key(axes, names) for axes in cells))
    places = [{value: i for i, value in enumerate(dict.fromkeys(k[axis] for k in keys))} for axis in range(len(names))]
    return sorted(keys, key=lambda k: [place[value] for place, value in zip(places, k, strict=True)])


def unique(exhibit: str, cells: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[Key, Mapping[str, Any]]:
    """Cells by their key; two cells in one place are refused with the axis that tells them apart."""
    placed: dict[Key, Mapping[str, Any]] = {}
    for cell in cells:
        other = placed.setdefault(key(cell["axes"], names), cell)
        if other is not cell:
            left, right = other["axes"], cell["axes"]
            apart = [n for n in sorted(left.keys() | right.keys()) if left.get(n) != right.get(n)]
            raise UserError(
                f"exhibit {exhibit}",
                f"{other['id']} and {cell['id']} fall into one place; show another axis",
                allowed=apart,
            )
    return placed


def results(folder: Path | str = "results") -> pandas.DataFrame:
    """All records below `folder` in one DataFrame: a row a run, what it was first and its metrics after."""
    paths = sorted((Path(folder) / "records").rglob("*.parquet"))
    if not paths:
        raise UserError(str(folder), "holds no records (records/*.parquet); run the pipeline first")
    import pandas

    frame = pandas.DataFrame(read_tables(paths))
    first = [name for name in FIRST if name in frame.columns]
    return frame.reindex(columns=first + [name for name in frame.columns if name not in first])
