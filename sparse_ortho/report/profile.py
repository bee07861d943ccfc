"""A measured quantity along its places: by layer, along a direction, on a path. A row a quantity, a column a panel.

`quantities` are names such as `zero` of `zero/conv1`; `x: layer` puts them by the names of their places in the order of
the network, any other x by the measured numbers of that name at the same places, as `loss/i` by `alpha/i`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import Key, ordered, unique
from sparse_ortho.report.indexed import Found, Place, check_names, indexed
from sparse_ortho.report.metrics import metric
from sparse_ortho.report.multiples import (
    PANEL_WIDTH,
    Point,
    check_axes,
    draw_line,
    legend_above,
    panel_keys,
    panel_title,
    range_handles,
    say_empty,
    summarised,
)
from sparse_ortho.report.style import line_style, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "measures"  # what its rule hands it, read by the plan
LAYER = "layer"  # the x of places that have names
NAMED = 26  # places that can be named under a panel; more are numbered
WORDS = {
    "alpha": "step along the direction",
    "t": "from this seed's weights (0) to the next seed's (1)",
    "from": "zeros in a filter",
    "share": "share of filters",
    "zero": "activations of exactly 0",
    "small": "activations near 0",
    "quiet": "units that are always 0",
    "loss": "training loss",
    "accuracy": "training accuracy in percent",
}


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every point that the figure draws."""
    name, quantities = exhibit["name"], tuple(dict.fromkeys(exhibit.get("quantities") or ()))
    panels, hue = tuple(exhibit.get("panels") or ()), (exhibit["hue"],) if exhibit.get("hue") else ()
    check_axes(name, cells, {"panels": panels, "hue": hue})
    placed = unique(name, cells, (*panels, *hue))
    found = indexed(cells, rows)
    check_names(name, "quantities", quantities, found)
    if exhibit["x"] != LAYER:
        check_names(name, "x", [exhibit["x"]], found)
    keys, hues = panel_keys(cells, panels), ordered([cell["axes"] for cell in cells], hue)
    lines: dict[tuple[str, Key, Key], list[Point]] = {
        (quantity, panel, value): _line(placed[*panel, *value], found, quantity, exhibit["x"])
        for quantity in quantities
        for panel in keys
        for value in hues
        if (*panel, *value) in placed
    }
    with styled():
        drawn = to_bytes(_draw(exhibit, panels, keys, hues, quantities, lines))
    told = [
        dict(zip(panels + hue, panel + value, strict=True)) | {"quantity": quantity} | point
        for (quantity, panel, value), line in lines.items()
        for point in line
    ]
    columns = ["quantity", *panels, *hue, "place", exhibit["x"], "n", "mean", "min", "max", "cell"]
    return {**drawn, "csv": csv_text(columns, ({**row, exhibit["x"]: row["x"]} for row in told))}


def _line(cell: Mapping[str, Any], found: Mapping[tuple[str, int], Found], quantity: str, x: str) -> list[Point]:
    """Mean and range over seeds at every place that a seed has; all seeds must mean the same by a place."""
    seeds = [found[cell["id"], seed] for seed in cell["seeds"] if (cell["id"], seed) in found]
    every: list[Place] = list(dict.fromkeys(place for seed in seeds for place in seed.get(quantity, ()) if place))
    points = []
    for number, place in enumerate(every):
        at = {number} if x == LAYER else {seed[x][place] for seed in seeds if place in seed.get(x, ())}
        if len(at) != 1:
            raise UserError(cell["id"], f"{x} differs between seeds at {'/'.join(place)}", found=sorted(at))
        values = [seed[quantity][place] for seed in seeds if place in seed.get(quantity, ())]
        points.append({"x": at.pop(), "place": "/".join(place), "cell": cell["id"]} | summarised(values))
    return points


def _draw(
    exhibit: Mapping[str, Any],
    panels: Sequence[str],
    keys: Sequence[Key],
    hues: Sequence[Key],
    quantities: Sequence[str],
    lines: Mapping[tuple[str, Key, Key], Sequence[Point]],
) -> Figure:
    names = _names([line for line in lines.values() if line]) if exhibit["x"] == LAYER else {}
    width = max(PANEL_WIDTH, min(0.16 * len(names) + 0.6, 9.6 / len(keys)))
    upright = 0.8 if names else 0.0
    figure = new_figure(max(5.6, width * len(keys) + 0.8), 1.9 * len(quantities) + 1.1 + upright)
    grid: Any = figure.subplots(len(quantities), len(keys), sharex=True, sharey="row", squeeze=False)
    for row, quantity in enumerate(quantities):
        for column, panel in enumerate(keys):
            mine = {value: lines[quantity, panel, value] for value in hues if (quantity, panel, value) in lines}
            _panel(grid[row, column], mine, hues, bool(names))
            if row == 0:
                grid[row, column].set_title(panel_title(panels, panel))
        grid[row, 0].set_ylabel(_worded(quantity))
        mine = [point for (of, *_), line in lines.items() if of == quantity for point in line]
        if exhibit.get("log_y") and metric(quantity).better <= 0 and any(point["mean"] > 0 for point in mine):
            _logarithmic(grid[row, 0])  # accuracies stay as they are: parts of a hundred
    for axes in grid[-1]:
        if names:
            axes.set_xticks(list(names), list(names.values()), rotation=90, fontsize=7)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    figure.supxlabel(LAYER if exhibit["x"] == LAYER else _worded(exhibit["x"]), fontsize=9)
    drawn = [point for line in lines.values() for point in line]
    hue = [exhibit["hue"]] if exhibit.get("hue") else []
    handles = [Line2D([], [], label=panel_title(hue, value), **line_style(i)) for i, value in enumerate(hues) if value]
    if handles or range_handles(drawn):
        legend_above(figure, [*handles, *range_handles(drawn)], len(keys))
    figure.align_ylabels()
    return figure


def _panel(axes: Axes, lines: Mapping[Key, Sequence[Point]], hues: Sequence[Key], marked: bool) -> None:
    marker: dict[str, Any] = {"marker": "o", "markersize": 3} if marked else {}
    for value, line in lines.items():
        draw_line(axes, line, line_style(hues.index(value)) | marker)
    if not any(lines.values()):
        say_empty(axes)


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _names(lines: Sequence[Sequence[Point]]) -> dict[int, str]:
    """Places by number; where lines disagree about them, or they are too many to be read, their numbers."""
    names: dict[int, str] = {}
    for line in lines:
        for point in line:
            if names.setdefault(int(point["x"]), point["place"]) != point["place"]:
                return {place: str(place + 1) for place in range(max(map(len, lines)))}
    short = {place: name.removesuffix(".weight") for place, name in names.items()}
    every = -(-len(short) // NAMED)
    return {place: name for place, name in sorted(short.items()) if place % every == 0}


def _worded(name: str) -> str:
    return WORDS.get(name, metric(name).meaning)
