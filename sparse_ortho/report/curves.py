"""Curves over training as small multiples: a panel a combination of axes, a line a hue, seeds as mean and range.

A seed counts where it has a finite value, so a run that diverged is in the mean as far as it went; the csv says how
many seeds each point has.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import Key, ordered, unique
from sparse_ortho.report.metrics import metric
from sparse_ortho.report.multiples import (
    PANEL_WIDTH,
    Point,
    draw_line,
    extent,
    legend_above,
    panel_keys,
    panel_title,
    places,
    range_handles,
    say_empty,
    subplots,
    summarised,
)
from sparse_ortho.report.style import line_style, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "curves"  # what its rule hands it, read by the plan


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], curves: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every point that the figure draws."""
    panels, hue = tuple(exhibit.get("panels") or ()), (exhibit["hue"],) if exhibit.get("hue") else ()
    placed = unique(exhibit["name"], cells, (*panels, *hue))
    points = _points(exhibit, {cell["id"]: set(cell["seeds"]) for cell in cells}, curves)
    keys = panel_keys(cells, panels)
    hues = ordered([cell["axes"] for cell in cells], hue)
    lines = {
        panel: {value: points[placed[*panel, *value]["id"]] for value in hues if (*panel, *value) in placed}
        for panel in keys
    }
    with styled():
        drawn = to_bytes(_draw(exhibit, panels, lines, hues))
    rows = [
        dict(zip(panels + hue, panel + value, strict=True)) | {"cell": placed[*panel, *value]["id"]} | point
        for panel in keys
        for value, line in lines[panel].items()
        for point in line
    ]
    names = {"x": exhibit["x"], **{part: f"{exhibit['y']}_{part}" for part in ("mean", "min", "max")}}
    columns = [*panels, *hue, exhibit["x"], "n", names["mean"], names["min"], names["max"], "cell"]
    return {**drawn, "csv": csv_text(columns, ({names.get(k, k): v for k, v in row.items()} for row in rows))}


def _points(
    exhibit: Mapping[str, Any], seeds: Mapping[str, set[int]], curves: Iterable[Mapping[str, Any]]
) -> dict[str, list[Point]]:
    """Mean and range over the planned seeds of each cell at each x."""
    x, y = exhibit["x"], exhibit["y"]
    values: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    seen: set[tuple[str, int, float]] = set()
    for row in curves:
        if row["seed"] not in seeds.get(row["cell"], ()):
            continue
        for name in (x, y):
            if name not in row:
                allowed = sorted(set(row) - {"cell", "seed"})
                raise UserError(f"exhibit {exhibit['name']}, {'x' if name == x else 'y'}", found=name, allowed=allowed)
        place, value = (row["cell"], row["seed"], row[x]), row[y]
        if place in seen:
            raise UserError(row["cell"], f"there are two curve rows of seed {row['seed']} at {x} {row[x]}")
        seen.add(place)
        if row[x] is not None and value is not None and math.isfinite(value):
            values[row["cell"]][row[x]].append(float(value))
    return {cell: [{"x": at} | summarised(found) for at, found in sorted(values[cell].items())] for cell in seeds}


def _draw(
    exhibit: Mapping[str, Any],
    panels: Sequence[str],
    lines: Mapping[Key, Mapping[Key, list[Point]]],
    hues: Sequence[Key],
) -> Figure:
    placed = places(panels, list(lines))
    rows, columns = extent(placed)
    figure = new_figure(max(5.2, PANEL_WIDTH * columns + 0.6), 2.0 * rows + 1.1)
    drawn = [point for found in lines.values() for line in found.values() for point in line]
    positive = any(point["mean"] > 0 for point in drawn)  # without one a logarithmic axis has no range
    for panel, axes in subplots(figure, placed).items():
        _panel(axes, panel_title(panels, panel), lines[panel], hues)
        if exhibit.get("log_y") and positive:
            axes.set_yscale("log", nonpositive="mask")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
    figure.supxlabel(exhibit["x"] if exhibit["x"] in ("epoch", "step") else metric(exhibit["x"]).meaning, fontsize=9)
    figure.supylabel(metric(exhibit["y"]).meaning, fontsize=9)
    handles = [Line2D([], [], label=value[0] if value else "mean", **line_style(i)) for i, value in enumerate(hues)]
    legend_above(figure, [*handles, *range_handles(drawn)], columns)
    return figure


def _panel(axes: Axes, title: str, found: Mapping[Key, list[Point]], hues: Sequence[Key]) -> None:
    for value, line in found.items():
        draw_line(axes, line, line_style(hues.index(value)))
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if not any(found.values()):
        say_empty(axes)
