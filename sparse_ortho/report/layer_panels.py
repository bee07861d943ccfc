"""The drawing of densities by layer: every panel on one scale, layers by name where the names can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sparse_ortho.report.collect import Key
from sparse_ortho.report.logscale import LogScale, log_scale, mark_zeros, placed, zero_handles
from sparse_ortho.report.multiples import (
    PANEL_WIDTH,
    Point,
    draw_line,
    extent,
    legend_above,
    panel_title,
    places,
    range_handles,
    say_empty,
    subplots,
)
from sparse_ortho.report.style import QUIET, line_style, new_figure

NAME_WIDTH = 0.14  # inches of an upright name
WIDEST = 9.6  # inches of all panels of a row together
OVERALL: dict[str, Any] = {"linewidth": 0.9, "linestyle": (0, (4, 2)), "zorder": 1.5}
SAME = 0.02  # overall densities this close to each other, relatively, are one line


@dataclass(frozen=True)
class Line:
    """A cell's layers in order, the density of all of them together, and how many seeds were planned."""

    points: list[Point]  # each with layer and size beside it
    overall: float | None
    planned: int


def draw(
    exhibit: Mapping[str, Any],
    panels: Sequence[str],
    lines: Mapping[Key, Mapping[Key, Line]],
    hues: Sequence[Key],
) -> Figure:
    grid = places(panels, list(lines))
    rows, columns = extent(grid)
    drawn = [point for found in lines.values() for line in found.values() for point in line.points]
    names = _names(drawn)
    width = max(PANEL_WIDTH, min(NAME_WIDTH * len(names) + 0.5, WIDEST / columns))
    named = NAME_WIDTH * len(names) <= width - 0.3
    figure = new_figure(max(5.2, width * columns + 0.6), 2.1 * rows + (1.6 if named else 1.1))
    values = [point[part] for point in drawn for part in ("mean", "min", "max")]
    overall = [line.overall for found in lines.values() for line in found.values() if line.overall is not None]
    scale = log_scale([*values, *overall], max(values, default=0.0)) if exhibit.get("log_y") else None
    for panel, axes in subplots(figure, grid).items():
        _panel(axes, lines[panel], hues, scale)
        axes.set_title(panel_title(panels, panel))
        if scale:
            scale.apply(axes)
        if named:
            axes.set_xticks(list(names), list(names.values()), rotation=90, fontsize=7)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    figure.supxlabel("layer" if named else "layer, by position from the input", fontsize=9)
    figure.supylabel("density of the layer", fontsize=9)
    handles: list[Artist] = [
        Line2D([], [], label=value[0] if value else "mean", **_look(i)) for i, value in enumerate(hues)
    ]
    if overall:
        handles.append(Line2D([], [], color=QUIET, label="all layers together", **OVERALL))
    notes = [*range_handles(drawn), *zero_handles([scale] if scale else [])]
    legend_above(figure, [*handles, *notes], int(width * columns / PANEL_WIDTH))
    return figure


def _panel(axes: Axes, found: Mapping[Key, Line], hues: Sequence[Key], scale: LogScale | None) -> None:
    for value, line in found.items():
        look = _look(hues.index(value))
        draw_line(axes, placed(scale, line.points), look)
        mark_zeros(axes, scale, line.points, look)
    overall = {value: line.overall for value, line in found.items() if line.overall}
    if overall and max(overall.values()) <= (1 + SAME) * min(overall.values()):
        axes.axhline(sum(overall.values()) / len(overall), color=QUIET, **OVERALL)
    else:
        for value, density in overall.items():
            axes.axhline(density, color=line_style(hues.index(value))["color"], **OVERALL)
    if not any(line.points for line in found.values()):
        say_empty(axes)


def _look(index: int) -> dict[str, Any]:
    return line_style(index) | {"marker": "o", "markersize": 3.2, "linewidth": 1.2}


def _names(points: Sequence[Point]) -> dict[int, str]:
    """Layer names by position, less what all end in; panels that disagree about them have numbers."""
    names: dict[int, str] = {}
    for point in points:
        if names.setdefault(point["x"], point["layer"]) != point["layer"]:
            return {place: str(place) for place in sorted({point["x"] for point in points})}
    endings = {name.rpartition(".")[2] for name in names.values()}
    if len(endings) == 1 and all("." in name for name in names.values()):
        names = {place: name.rpartition(".")[0] for place, name in names.items()}
    return dict(sorted(names.items()))
