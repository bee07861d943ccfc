"""The drawing of measures against a number: one y for a row of panels, one x for all, signs told once beside them."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sparse_ortho.report.line_layout import Layout, Series
from sparse_ortho.report.logscale import LogScale, log_scale, mark_zeros, placed, zero_handles
from sparse_ortho.report.metrics import metric
from sparse_ortho.report.multiples import (
    PANEL_WIDTH,
    Point,
    draw_line,
    legend_beside,
    panel_title,
    range_handles,
    say_empty,
)
from sparse_ortho.report.style import INK, PALETTE, QUIET, new_figure
from sparse_ortho.report.text import show

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
STROKES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (9, 2)))
REFERENCE: dict[str, Any] = {"linestyle": (0, (1, 1.8)), "linewidth": 1.1, "marker": ""}
WORDS = {"min": "smallest", "max": "largest", "var": "variance", "std": "standard deviation"}
MOST_TICKS = 6
ROW_OF_LETTERS = 30  # beside a panel of two inches

Points = Mapping[tuple[str, str], Point]


def draw(exhibit: Mapping[str, Any], layout: Layout, quantities: Sequence[str], points: Points) -> Figure:
    seen = {name: [p for (_, of), p in points.items() if of == name and p["n"]] for name in quantities}
    scales = _scales(seen) if exhibit.get("log_y") else {}
    bands = range_handles(point for found in seen.values() for point in found)
    groups = _signs(layout, [*bands, *zero_handles(scales.values())])
    rows, columns = len(quantities), len(layout.panel_keys)
    height = (1.75 if rows > 2 else 2.1) * rows + 0.7
    legend = 0.2 * sum(2 + len(entries) for entries in groups.values()) + 0.2
    figure = new_figure(max(5.6, PANEL_WIDTH * columns + 2.2), max(height, legend))
    grid: Any = figure.subplots(rows, columns, sharex=True, sharey="row", squeeze=False)
    for row, column in itertools.product(range(rows), range(columns)):
        axes, quantity, panel = grid[row, column], quantities[row], layout.panel_keys[column]
        lines = [line for line in layout.series if line.panel in (None, panel)]
        drawn = [_line(axes, layout, line, quantity, points, scales.get(quantity)) for line in lines]
        if not any(drawn):
            say_empty(axes)
        if row == 0:
            axes.set_title(panel_title(layout.panels, panel))
        if column == 0:
            axes.set_ylabel(textwrap.fill(WORDS.get(quantity, metric(quantity).meaning), ROW_OF_LETTERS))
    for quantity, scale in scales.items():
        for axes in grid[quantities.index(quantity)]:
            scale.apply(axes)
    _x_axis(grid[0, 0], [at for line in layout.series for at, _ in line.cells if at is not None], exhibit)
    figure.align_ylabels()
    _label(figure, grid, metric(layout.x).meaning, (exhibit.get("labels") or {}).get("metric"))
    legend_beside(figure, groups)
    return figure


def _scales(seen: Mapping[str, Sequence[Point]]) -> dict[str, LogScale]:
    """One scale a quantity; what is rounding is a matter of the largest value of them all."""
    largest = max((point["max"] for found in seen.values() for point in found), default=0.0)
    found = {
        name: log_scale([point[part] for point in drawn for part in ("mean", "min", "max")], largest)
        for name, drawn in seen.items()
    }
    return {name: scale for name, scale in found.items() if scale is not None}


def _label(figure: Figure, grid: Any, x: str, y: str | None) -> None:
    """What the axes measure, once; under a single column it belongs to its panel, not to the legend as well."""
    if grid.shape[1] == 1:
        grid[-1, 0].set_xlabel(x)
    else:
        figure.supxlabel(x, fontsize=9)
    if y:
        figure.supylabel(y, fontsize=9, fontweight="bold")


def _line(axes: Axes, layout: Layout, line: Series, quantity: str, points: Points, scale: LogScale | None) -> bool:
    """Draw one line if it has a value anywhere."""
    found: list[Point] = [{"x": at} | points[cell["id"], quantity] for at, cell in line.cells]
    if not any(point["n"] for point in found):
        return False
    look = _look(layout, line)
    shown = placed(scale, found)
    if shown[0]["x"] is None:
        axes.axhline(shown[0]["mean"], **look)
        axes.axhspan(shown[0]["min"], shown[0]["max"], color=look["color"], alpha=0.1, linewidth=0)
        return True
    draw_line(axes, shown, look, shade=0.13)
    if not line.reference:
        mark_zeros(axes, scale, found, look)
    return True


def _look(layout: Layout, line: Series) -> dict[str, Any]:
    colour = {"color": INK if line.hue is None else PALETTE[layout.hues.index(line.hue)]}
    if line.reference or line.dash is None:
        return colour | REFERENCE
    return colour | _dash(layout.dashes.index(line.dash))


def _dash(index: int) -> dict[str, Any]:
    """Dashes and markers come round after different numbers, so no pair returns soon."""
    stroke, marker = STROKES[index % len(STROKES)], MARKERS[index % len(MARKERS)]
    return {"linestyle": stroke, "linewidth": 1.3, "marker": marker, "markersize": 3.6, "markeredgewidth": 0.9}


def _signs(layout: Layout, notes: Sequence[Artist]) -> dict[str, Sequence[Artist]]:
    """The groups of the legend: what each colour and each kind of line says, and the rest."""
    hues = [Line2D([], [], color=PALETTE[i], label=value[0]) for i, value in enumerate(layout.hues) if value]
    dashes = [Line2D([], [], color=QUIET, label=value[0], **_dash(i)) for i, value in enumerate(layout.dashes) if value]
    dense = [Line2D([], [], color=INK if line.hue is None else QUIET, label="dense", **REFERENCE)
             for line in layout.series if line.reference][:1]  # fmt: skip
    groups: dict[str, Sequence[Artist]] = {
        "".join(layout.hue): hues,
        "".join(layout.dash): dashes + (dense if layout.dash == ("mask",) else []),
    }
    rest = [*(dense if layout.dash != ("mask",) else []), *notes]
    return {name: entries for name, entries in (groups | {"": rest}).items() if entries}


def _x_axis(axes: Axes, values: Sequence[float], exhibit: Mapping[str, Any]) -> None:
    """Ticks where the cells are, while they stand far enough apart to be read."""
    values = sorted(set(values))
    log = bool(exhibit.get("log_x")) and bool(values) and values[0] > 0
    places = [math.log(value) if log else value for value in values]
    if log:
        axes.set_xscale("log")
    gaps = [right - left for left, right in zip(places, places[1:], strict=False)]
    apart = not gaps or min(gaps) >= (places[-1] - places[0]) / (MOST_TICKS + 1)
    if values and len(values) <= MOST_TICKS and apart:
        axes.xaxis.set_major_locator(FixedLocator(values))
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if log else MaxNLocator(nbins=5))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show(float(f"{value:.4g}"))))
