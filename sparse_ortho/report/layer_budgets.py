"""How layers share the weights over the epochs of a training, and where weights went.

    share    A_lt / A_t                 stacked areas: of all active weights those of layer l
    density  A_lt / N_l                 lines
    grown    came_lt / A_t              lines: share of all active weights that is new in layer l since the last epoch
    net      (A_lt - A_l,t-1) / A_t     lines: grown less dropped; below 0 a layer has given weights away

Means over the seeds, with their range where there are lines; colours go from the input to the output.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from sparse_ortho.report import over_time
from sparse_ortho.report.collect import unique
from sparse_ortho.report.multiples import (
    Point,
    check_axes,
    draw_line,
    legend_beside,
    panel_keys,
    range_handles,
    say_empty,
)
from sparse_ortho.report.style import QUIET, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "curves"  # what its rule hands it, read by the plan
NAMES = {
    "share": "share of active weights",
    "density": "density of the layer",
    "grown": "newly grown",
    "net": "grown less dropped",
}
MOST_NAMED = 16  # layers in the legend; of more, evenly spaced ones are named, and all are drawn

Counts = dict[str, tuple[int, int, int, int]]  # layer -> active, came, left, size


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every point that the figure draws."""
    panels = tuple(exhibit.get("panels") or ())
    check_axes(exhibit["name"], cells, {"panels": panels})
    placed = unique(exhibit["name"], cells, panels)
    quantities = over_time.asked(exhibit, NAMES)
    curves = over_time.curves_of(cells, rows)
    keys = panel_keys(cells, panels)
    told, layers = [], []
    with styled():
        figure, axes = over_time.grid(exhibit, quantities, NAMES, panels, keys)
        for (quantity, key), place in axes.items():
            cell = placed[key]["id"]
            lines = lines_of(quantity, [counted(seed) for seed in curves[cell].values()])
            layers = list(lines) if len(lines) > len(layers) else layers
            _panel(place, quantity, lines)
            about = {**dict(zip(panels, key, strict=True)), "quantity": quantity, "cell": cell}
            told += [about | {"layer": n, "epoch": p["x"]} | p for n, line in lines.items() for p in line]
        _legend(figure, layers, [row for row in told if row["quantity"] != "share"])
        drawn = to_bytes(figure)
    return {**drawn, "csv": csv_text(["quantity", *panels, "layer", "epoch", "n", "mean", "min", "max", "cell"], told)}


def counted(curve: over_time.Curve) -> dict[int, Counts]:
    """The counts of every epoch of a seed; a row without them says that nothing has moved since the one before."""
    found: dict[int, Counts] = {}
    last: Counts = {}
    for epoch in sorted(curve):
        if text := curve[epoch]["layers"]:
            last = {name: tuple(counts) for name, counts in json.loads(text).items()}
            found[epoch] = last
        elif last:
            last = {name: (active, 0, 0, size) for name, (active, _, _, size) in last.items()}
            found[epoch] = last
    return found


def lines_of(quantity: str, seeds: Sequence[Mapping[int, Counts]]) -> dict[str, list[Point]]:
    """Mean and range over the seeds of each layer at each epoch."""
    names = dict.fromkeys(name for seed in seeds for counts in seed.values() for name in counts)
    values: dict[str, list[dict[int, float | None]]] = {name: [{} for _ in seeds] for name in names}
    for i, seed in enumerate(seeds):
        for epoch, counts in seed.items():
            total = sum(active for active, *_ in counts.values())
            for name, (active, came, left, size) in counts.items():
                over = {"share": active, "density": active, "grown": came, "net": came - left}[quantity]
                of = size if quantity == "density" else total
                values[name][i][epoch] = over / of if of else None
    return {name: over_time.line(found) for name, found in values.items()}


def colours(count: int) -> list[Any]:
    """From the input to the output, dark to light; the lightest of the map cannot be seen on white."""
    return [matplotlib.colormaps["viridis"](0.92 * i / max(1, count - 1)) for i in range(count)]


def _panel(axes: Axes, quantity: str, lines: Mapping[str, Sequence[Point]]) -> None:
    if not any(lines.values()):
        say_empty(axes)
        return
    looks = dict(zip(lines, colours(len(lines)), strict=True))
    if quantity == "share":
        epochs = [point["x"] for point in next(iter(lines.values()))]
        heights = [[point["mean"] for point in line] for line in lines.values()]
        axes.stackplot(epochs, heights, colors=list(looks.values()), edgecolor="white", linewidth=0.4)
        axes.set_ylim(0, 1)
        axes.margins(x=0)
    else:
        for name, line in lines.items():
            draw_line(axes, line, {"color": looks[name], "linestyle": "-", "linewidth": 1.3})
        if quantity == "net":
            axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _legend(figure: Any, layers: Sequence[str], points: Sequence[Point]) -> None:
    step = max(1, -(-len(layers) // MOST_NAMED))
    looks = list(zip(layers, colours(len(layers)), strict=True))[::step]
    named: list[Artist] = [
        Line2D([], [], color=colour, linewidth=4, label=name.removesuffix(".weight")) for name, colour in looks
    ]
    legend_beside(figure, {"layer": named[::-1], "": range_handles(points)})
