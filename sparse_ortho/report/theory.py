"""Density after random rotations: the exact chain, its closed form, and what matrices have; a panel a shape.

The lower row is what is left when theory is taken away, in standard errors of the mean: within 2 nineteen times in
twenty. The seeds of a cell are pooled: mean of means, standard error  sqrt(sum of squares) / seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparse_ortho.report.benched import plainly
from sparse_ortho.report.measured import measured
from sparse_ortho.report.multiples import PANEL_WIDTH, panel_title, say_empty
from sparse_ortho.report.style import INK, PALETTE, QUIET, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text, show

READS = "benches"  # what its rule hands it, read by the plan
SHOWS = {"name": "rotations"}  # the one that it draws
PARTS = ("rotations", "density", "error", "expected", "closed")
ROUNDING = 1e-12  # a standard error below this is of the floats that were averaged, not of the draws
Row = Mapping[str, Any]


def render(exhibit: Row, cells: Sequence[Row], rows: Iterable[Row]) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str} of cells of the bench `rotations`."""
    told, shown = plainly(exhibit, cells)
    curves = [(cell, curve_of(exhibit["name"], cell, found)) for cell, found in _apart(shown, rows)]
    with styled():
        drawn = to_bytes(_draw(told, curves))
    return {**drawn, "csv": _csv(told, curves)}


def _apart(cells: Sequence[Row], rows: Iterable[Row]) -> list[tuple[Row, list[Row]]]:
    mine: dict[str, list[Row]] = {cell["id"]: [] for cell in cells}
    for row in rows:
        mine[row["cell"]].append(row)
    return [(cell, mine[cell["id"]]) for cell in cells]


def curve_of(exhibit: str, cell: Row, rows: Sequence[Row]) -> list[dict[str, float]]:
    """The points of one cell in order, its seeds pooled; none before it is measured."""
    there = sorted({int(row["quantity"].rpartition("/")[2]) for row in rows if row["quantity"]})
    names = [f"{part}/{at}" for at in there for part in PARTS]
    points = measured(exhibit, [cell], rows, names)
    values = {seed: {r["quantity"]: r["value"] for r in rows if r["seed"] == seed} for seed in cell["seeds"]}
    curve = []
    for at in there:
        point = {part: points[cell["id"], f"{part}/{at}"]["mean"] for part in PARTS}
        errors = [found[f"error/{at}"] for found in values.values() if f"error/{at}" in found]
        point["error"] = math.sqrt(math.fsum(error**2 for error in errors)) / len(errors)
        curve.append(point | {"seeds": len(errors)})
    return curve


def left_over(point: Row) -> float | None:
    """Measured minus expected in standard errors; None where no draw can differ, as before the first rotation."""
    return (point["density"] - point["expected"]) / point["error"] if point["error"] > ROUNDING else None


def _draw(exhibit: Row, curves: Sequence[tuple[Row, Sequence[Row]]]) -> Figure:
    figure = new_figure(max(5.6, PANEL_WIDTH * len(curves) + 2.2), 4.2)
    grid: Any = figure.subplots(2, len(curves), sharex="col", sharey="row", squeeze=False, height_ratios=(2, 1))
    for (cell, curve), (above, below) in zip(curves, grid.T, strict=True):
        above.set_title(_title(exhibit, cell))
        if not curve:
            say_empty(above)
            continue
        t = [point["rotations"] for point in curve]
        above.plot(t, [p["expected"] for p in curve], color=PALETTE[0], label="exact chain")
        above.plot(t, [p["closed"] for p in curve], "--", color=PALETTE[1], linewidth=1.2, label="closed form")
        bars = {"yerr": [2 * p["error"] for p in curve], "fmt": "o", "markersize": 3.4, "capsize": 2}
        told = "mean of matrices\n± 2 standard errors"
        above.errorbar(t, [p["density"] for p in curve], color=INK, linewidth=1, label=told, **bars)
        rest = [(p["rotations"], left) for p in curve if (left := left_over(p)) is not None]
        below.axhspan(-2, 2, color=QUIET, alpha=0.15, linewidth=0)
        below.axhline(0, color=PALETTE[0], linewidth=1)
        below.plot(*zip(*rest, strict=True), "o", color=INK, markersize=3.4)
        below.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    largest = max((abs(left) for _, c in curves for p in c if (left := left_over(p)) is not None), default=0.0)
    grid[1, 0].set_ylim(-max(4.2, 1.1 * largest), max(4.2, 1.1 * largest))
    grid[0, 0].set_ylabel("density")
    grid[1, 0].set_ylabel("mean − exact\nin standard errors")
    figure.supxlabel("rotations", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", labelspacing=0.8)
    figure.align_ylabels()
    return figure


def _title(exhibit: Row, cell: Row) -> str:
    panels = exhibit["panels"]
    if list(panels) == ["rows", "cols"]:
        return " × ".join(show(cell["axes"][name]) for name in panels)
    return panel_title(panels, tuple(show(cell["axes"][name]) for name in panels))


def _csv(exhibit: Row, curves: Sequence[tuple[Row, Sequence[Row]]]) -> str:
    axes = list(exhibit["panels"])
    rows = [
        {axis: cell["axes"][axis] for axis in axes}
        | {"t": int(p["rotations"]), "measured": p["density"], "standard_error": p["error"], "left_over": left_over(p)}
        | {"expected": p["expected"], "closed_form": p["closed"], "seeds": p["seeds"], "cell": cell["id"]}
        for cell, curve in curves
        for p in curve
    ]
    found = ["t", "measured", "standard_error", "expected", "closed_form", "left_over", "seeds", "cell"]
    return csv_text([*axes, *found], rows)
