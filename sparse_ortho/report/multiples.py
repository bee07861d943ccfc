"""What small multiples share: which panels there are and where, a mean with its range over seeds, and the legend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import Key, ordered
from sparse_ortho.report.style import QUIET
from sparse_ortho.report.text import ABSENT

Point = dict[str, Any]  # x, n, mean, min, max
MOST_COLUMNS = 4
PANEL_WIDTH = 2.4  # inches


def summarised(values: Sequence[float]) -> Point:
    """Number, mean and range of the seeds' values; what no seed has is None, and no mark in the figure."""
    if not values:
        return {"n": 0, "mean": None, "min": None, "max": None}
    return {"n": len(values), "mean": math.fsum(values) / len(values), "min": min(values), "max": max(values)}


def check_axes(exhibit: str, cells: Iterable[Mapping[str, Any]], names: Mapping[str, Iterable[str]]) -> None:
    """Every axis that a figure is laid out by is one of its cells'; `names` are the axes by the key that lists them."""
    for cell in cells:
        for role, wanted in names.items():
            for name in wanted:
                if name not in cell["axes"]:
                    raise UserError(f"exhibit {exhibit}, {role}", found=name, allowed=sorted(cell["axes"]))


def panel_keys(cells: Sequence[Mapping[str, Any]], panels: Sequence[str]) -> list[Key]:
    """The panels in order, those of dense cells last: they have no place in a grid of masks and densities."""
    dense = [c["axes"] for c in cells if _is_dense(c["axes"])]
    sparse = [c["axes"] for c in cells if not _is_dense(c["axes"])]
    return list(dict.fromkeys([*ordered(sparse, panels), *ordered(dense, panels)]))


def _is_dense(axes: Mapping[str, Any]) -> bool:
    return axes.get("mask") == "dense" or axes.get("density") == 1


def places(panels: Sequence[str], keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
    """(row, column) of each panel: two axes span a grid with the dense panels beside it, anything else wraps."""
    grid = [key for key in keys if not _named_dense(key)]
    beside = [key for key in keys if _named_dense(key)]
    values = [list(dict.fromkeys(key[axis] for key in grid)) for axis in range(len(panels))]
    if len(panels) == 2 and grid and max(map(len, values)) < MOST_COLUMNS + (not beside):
        across = 1 if len(values[1]) >= len(values[0]) else 0  # the longer axis runs to the right
        found = {key: (values[1 - across].index(key[1 - across]), values[across].index(key[across])) for key in grid}
        rows, columns = len(values[1 - across]), len(values[across])
        return found | {key: (i % rows, columns + i // rows) for i, key in enumerate(beside)}
    columns = min(MOST_COLUMNS, len(keys)) if len(keys) != MOST_COLUMNS + 1 else 3  # no panel alone in its row
    return {key: divmod(i, columns) for i, key in enumerate([*grid, *beside])}


def _named_dense(panel: Key) -> bool:
    return "dense" in panel


def extent(placed: Mapping[Key, tuple[int, int]]) -> tuple[int, int]:
    """How many rows and columns the panels take."""
    rows, columns = zip(*placed.values(), strict=True) if placed else ((0,), (0,))
    return 1 + max(rows), 1 + max(columns)


def subplots(figure: Figure, placed: Mapping[Key, tuple[int, int]]) -> dict[Key, Axes]:
    """Axes with one scale for all; a panel with nothing below it shows the ticks of its column."""
    grid: Any = figure.subplots(*extent(placed), sharex=True, sharey=True, squeeze=False)
    taken = set(placed.values())
    for row, column in np.ndindex(grid.shape):
        if (row, column) not in taken:
            grid[row, column].remove()
        elif (row + 1, column) not in taken:
            grid[row, column].tick_params(labelbottom=True)
    return {panel: grid[place] for panel, place in placed.items()}


def draw_line(axes: Axes, line: Sequence[Point], look: Mapping[str, Any], shade: float = 0.18) -> None:
    """The mean as a line and the range over seeds as a band; a point without a value leaves a gap."""
    x = [point["x"] for point in line]
    mean, low, high = (
        [math.nan if point[part] is None else point[part] for point in line] for part in ("mean", "min", "max")
    )
    lonely: dict[str, Any] = {"marker": "o"} if len(line) == 1 else {}  # a single point makes no line, so it is a dot
    axes.plot(x, mean, **lonely | dict(look))
    axes.fill_between(x, low, high, color=look["color"], alpha=shade, linewidth=0)


def say_empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes, color=QUIET)


def panel_title(panels: Sequence[str], panel: Key) -> str:
    named = [_worded(name, value) for name, value in zip(panels, panel, strict=True) if value != ABSENT]
    return "dense" if _named_dense(panel) else " · ".join(named)


def _worded(name: str, value: str) -> str:
    """A number needs the name of its axis; a word speaks for itself."""
    return value if value[:1].isalpha() and value not in ("true", "false") else f"{name} {value}"


def range_handles(points: Iterable[Point]) -> list[Artist]:
    """The legend's word for the bands, where there are any."""
    shown = any(point["n"] > 1 for point in points)
    return [Patch(color=QUIET, alpha=0.25, linewidth=0, label="range over seeds")] if shown else []


def legend_above(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    figure.legend(handles=handles, loc="outside upper left", ncols=max(2, 2 * columns - 1))


def legend_beside(figure: Figure, groups: Mapping[str, Sequence[Artist]]) -> None:
    """One legend to the right: a heading and its entries for every sign that the lines carry."""
    handles, headings = [], set()
    for name, entries in groups.items():
        if entries:
            headings.add(len(handles))
            handles += [Line2D([], [], linestyle="", label=f"\n{name}" if handles and name else name), *entries]
    sign = {"handlelength": 2.6, "handletextpad": 0.8}
    legend = figure.legend(handles=handles, loc="outside right upper", labelspacing=0.45, **sign)
    for place in headings:
        text = legend.get_texts()[place]
        left = -sum(sign.values()) * float(text.get_fontsize()) / 72  # inches: over the empty sign
        text.set_transform(text.get_transform() + ScaledTranslation(left, 0, figure.dpi_scale_trans))
        text.set_fontweight("bold")
