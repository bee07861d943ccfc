"""Curves over training as small multiples: a panel a combination of axes, a line a hue, seeds as mean and range.

A seed counts where it has a finite value, so a run that diverged is in the mean as far as it went; the csv says how
many seeds each point has.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import Key, ordered, unique
from sparse_ortho.report.metrics import metric
from sparse_ortho.report.style import QUIET, line_style, new_figure, styled, to_bytes
from sparse_ortho.report.text import ABSENT, csv_text

Point = dict[str, Any]  # x, n, mean, min, max
MOST_COLUMNS = 4


READS = "curves"  # what its rule hands it, read by the plan


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], curves: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every point that the figure draws."""
    panels, hue = tuple(exhibit.get("panels") or ()), (exhibit["hue"],) if exhibit.get("hue") else ()
    placed = unique(exhibit["name"], cells, (*panels, *hue))
    points = _points(exhibit, {cell["id"]: set(cell["seeds"]) for cell in cells}, curves)
    panel_keys = _panel_keys(cells, panels)
    hues = ordered([cell["axes"] for cell in cells], hue)
    lines = {
        panel: {value: points[placed[*panel, *value]["id"]] for value in hues if (*panel, *value) in placed}
        for panel in panel_keys
    }
    with styled():
        drawn = to_bytes(_draw(exhibit, panels, lines, hues))
    rows = [
        dict(zip(panels + hue, panel + value, strict=True)) | {"cell": placed[*panel, *value]["id"]} | point
        for panel in panel_keys
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
    return {
        cell: [
            {"x": at, "n": len(v), "mean": math.fsum(v) / len(v), "min": min(v), "max": max(v)}
            for at, v in sorted(values[cell].items())
        ]
        for cell in seeds
    }


def _panel_keys(cells: Sequence[Mapping[str, Any]], panels: Sequence[str]) -> list[Key]:
    """The panels in order, those of dense cells last: they have no place in a grid of masks and densities."""
    dense = [c["axes"] for c in cells if _is_dense(c["axes"])]
    sparse = [c["axes"] for c in cells if not _is_dense(c["axes"])]
    return list(dict.fromkeys([*ordered(sparse, panels), *ordered(dense, panels)]))


def _is_dense(axes: Mapping[str, Any]) -> bool:
    return axes.get("mask") == "dense" or axes.get("density") == 1


def _places(panels: Sequence[str], keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
    """(row, column) of each panel: two axes span a grid with the dense panels beside it, anything else wraps."""
    grid = [key for key in keys if not _named_dense(key)]
    beside = [key for key in keys if _named_dense(key)]
    values = [list(dict.fromkeys(key[axis] for key in grid)) for axis in range(len(panels))]
    if len(panels) == 2 and grid and max(map(len, values)) < MOST_COLUMNS + (not beside):
        across = 1 if len(values[1]) >= len(values[0]) else 0  # the longer axis runs to the right
        places = {key: (values[1 - across].index(key[1 - across]), values[across].index(key[across])) for key in grid}
        rows, columns = len(values[1 - across]), len(values[across])
        return places | {key: (i % rows, columns + i // rows) for i, key in enumerate(beside)}
    columns = min(MOST_COLUMNS, len(keys)) if len(keys) != MOST_COLUMNS + 1 else 3  # no panel alone in its row
    return {key: divmod(i, columns) for i, key in enumerate([*grid, *beside])}


def _named_dense(panel: Key) -> bool:
    return "dense" in panel


def _draw(
    exhibit: Mapping[str, Any],
    panels: Sequence[str],
    lines: Mapping[Key, Mapping[Key, list[Point]]],
    hues: Sequence[Key],
) -> Figure:
    places = _places(panels, list(lines))
    rows = 1 + max((row for row, _ in places.values()), default=0)
    columns = 1 + max((column for _, column in places.values()), default=0)
    figure = new_figure(max(5.2, 2.4 * columns + 0.6), 2.0 * rows + 1.1)
    drawn = [point for found in lines.values() for line in found.values() for point in line]
    positive = any(point["mean"] > 0 for point in drawn)  # without one a logarithmic axis has no range
    grid: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel, place in places.items():
        _panel(grid[place], panels, panel, lines[panel], hues)
        if exhibit.get("log_y") and positive:
            grid[place].set_yscale("log", nonpositive="mask")
            grid[place].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            grid[place].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            grid[place].yaxis.set_minor_formatter(NullFormatter())
    taken = set(places.values())
    for row, column in np.ndindex(grid.shape):
        if (row, column) not in taken:
            grid[row, column].remove()
        elif (row + 1, column) not in taken:  # nothing below it: this panel shows the ticks of its column
            grid[row, column].tick_params(labelbottom=True)
    figure.supxlabel(exhibit["x"] if exhibit["x"] in ("epoch", "step") else metric(exhibit["x"]).meaning, fontsize=9)
    figure.supylabel(metric(exhibit["y"]).meaning, fontsize=9)
    handles: list[Artist] = [
        Line2D([], [], label=value[0] if value else "mean", **line_style(i)) for i, value in enumerate(hues)
    ]
    if any(point["n"] > 1 for point in drawn):
        handles.append(Patch(color=QUIET, alpha=0.25, linewidth=0, label="range over seeds"))
    figure.legend(handles=handles, loc="outside upper left", ncols=max(2, 2 * columns - 1))
    return figure


def _panel(
    axes: Axes, panels: Sequence[str], panel: Key, found: Mapping[Key, list[Point]], hues: Sequence[Key]
) -> None:
    for value, line in found.items():
        look = line_style(hues.index(value))
        x = [point["x"] for point in line]
        # a single point makes no line, so it is a dot
        axes.plot(x, [point["mean"] for point in line], marker="o" if len(line) == 1 else "", **look)
        low, high = [point["min"] for point in line], [point["max"] for point in line]
        axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
    named = [_worded(name, value) for name, value in zip(panels, panel, strict=True) if value != ABSENT]
    axes.set_title("dense" if _named_dense(panel) else " · ".join(named))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if not any(found.values()):
        axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes, color=QUIET)


def _worded(name: str, value: str) -> str:
    """A number needs the name of its axis; a word speaks for itself."""
    return value if value[:1].isalpha() and value not in ("true", "false") else f"{name} {value}"
