"""A grid of panels over epochs: a row a quantity with a scale of its own, a column a combination of axes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import Key
from sparse_ortho.report.multiples import PANEL_WIDTH, Point, panel_title, summarised
from sparse_ortho.report.style import new_figure

Curve = dict[int, Mapping[str, Any]]  # epoch -> row, of one seed
MOST_PANELS = 8  # beside each other; more cannot be read


def curves_of(cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, Curve]]:
    """By cell and seed, of the seeds that the exhibit names; an epoch that is there twice is refused."""
    planned = {(cell["id"], seed) for cell in cells for seed in cell["seeds"]}
    found: dict[str, dict[int, Curve]] = {cell["id"]: defaultdict(dict) for cell in cells}
    for row in rows:
        if (row["cell"], row["seed"]) in planned:
            curve = found[row["cell"]][row["seed"]]
            if row["epoch"] in curve:
                raise UserError(row["cell"], f"there are two curve rows of seed {row['seed']} at epoch {row['epoch']}")
            curve[row["epoch"]] = row
    return found


def line(values: Iterable[Mapping[int, float | None]]) -> list[Point]:
    """Mean and range over seeds at each epoch, of the values that are there."""
    at: dict[int, list[float]] = defaultdict(list)
    for seed in values:
        for epoch, value in seed.items():
            if value is not None and math.isfinite(value):
                at[epoch].append(float(value))
    return [{"x": epoch} | summarised(found) for epoch, found in sorted(at.items())]


def grid(
    exhibit: Mapping[str, Any], quantities: Sequence[str], names: Mapping[str, str], panels: Sequence[str],
    keys: Sequence[Key], share: bool = True,
) -> tuple[Figure, dict[tuple[str, Key], Axes]]:  # fmt: skip
    """The figure and its axes by quantity and panel; `names` says what a quantity is called at its axis."""
    if len(keys) > MOST_PANELS:
        raise UserError(f"exhibit {exhibit['name']}, panels", f"more than {MOST_PANELS} panels", found=len(keys))
    figure = new_figure(max(5.2, PANEL_WIDTH * len(keys) + 0.9), 1.9 * len(quantities) + 1.1)
    shape: dict[str, Any] = {"sharex": True, "sharey": "row" if share else False, "squeeze": False}
    found: Any = figure.subplots(len(quantities), len(keys), **shape)
    for row, quantity in enumerate(quantities):
        found[row, 0].set_ylabel(names[quantity])
        for column, key in enumerate(keys):
            found[row, column].xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            if row == 0:
                found[row, column].set_title(panel_title(panels, key))
    figure.supxlabel("epoch", fontsize=9)
    return figure, {(q, k): found[i, j] for i, q in enumerate(quantities) for j, k in enumerate(keys)}


def asked(exhibit: Mapping[str, Any], allowed: Iterable[str]) -> list[str]:
    """The quantities of an exhibit, one row of panels each."""
    known: list[str] = list(allowed)
    wanted: list[str] = list(dict.fromkeys(exhibit.get("quantities") or ()))
    for name in wanted:
        if name not in known:
            raise UserError(f"exhibit {exhibit['name']}, quantities", found=name, allowed=known)
    if not wanted:
        raise UserError(f"exhibit {exhibit['name']}, quantities", "names nothing to draw")
    return wanted
