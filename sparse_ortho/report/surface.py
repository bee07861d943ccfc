"""Loss surfaces around networks: contours of the first seed's, small multiples with one scale of colours.

Of measure `landscape` in two dimensions. Colours are logarithmic from the smallest to the largest loss of all panels,
unless that is under a decade; the cross is the network itself. What is not finite is blank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sparse_ortho.report.collect import Key, unique
from sparse_ortho.report.indexed import Found, check_names, first_seed, indexed
from sparse_ortho.report.multiples import check_axes, extent, panel_keys, panel_title, places, say_empty, subplots
from sparse_ortho.report.style import INK, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "measures"  # what its rule hands it, read by the plan
SHOWS = {"name": "landscape", "dimensions": 2}  # the one that it draws
COLOURS, LEVELS, LINES = "viridis_r", 24, 3  # filled contours, and a line at every third
DECADE = 10.0

Surface = tuple[int, np.ndarray, np.ndarray]  # seed, steps, loss at (first, second)


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every point of the surfaces."""
    panels = tuple(exhibit.get("panels") or ())
    check_axes(exhibit["name"], cells, {"panels": panels})
    placed = unique(exhibit["name"], cells, panels)
    found = indexed(cells, rows)
    check_names(exhibit["name"], "kind surface needs", ["alpha", "loss"], found)
    first = {key: first_seed(cell, found) for key, cell in placed.items()}
    surfaces = {key: surface(*told) for key, told in first.items() if told}
    with styled():
        drawn = to_bytes(_draw(exhibit, panels, panel_keys(cells, panels), surfaces))
    told = [
        dict(zip(panels, key, strict=True)) | {"seed": seed, "cell": placed[key]["id"]}
        | {"alpha": float(steps[i]), "beta": float(steps[j]), "loss": _plain(loss[i, j])}
        for key, (seed, steps, loss) in surfaces.items()
        for i, j in np.ndindex(loss.shape)
    ]  # fmt: skip
    return {**drawn, "csv": csv_text([*panels, "alpha", "beta", "loss", "seed", "cell"], told)}


def surface(seed: int, found: Found) -> Surface:
    steps = np.array(list(found["alpha"].values()))
    loss = np.full((len(steps), len(steps)), np.nan)
    for place, value in found["loss"].items():
        if len(place) == 2:
            loss[int(place[0]), int(place[1])] = value
    return seed, steps, loss


def _draw(
    exhibit: Mapping[str, Any], panels: Sequence[str], keys: Sequence[Key], found: Mapping[Key, Surface]
) -> Figure:
    grid = places(panels, keys)
    rows, columns = extent(grid)
    figure = new_figure(2.3 * columns + 1.6, 2.35 * rows + 0.7)
    values = np.concatenate([loss.ravel() for _, _, loss in found.values()]) if found else np.array([])
    values = values[np.isfinite(values)]
    levels, norm = scale(values)
    drawn = None
    for panel, axes in subplots(figure, grid).items():
        axes.set_title(panel_title(panels, panel))
        axes.grid(False)
        if panel in found and np.isfinite(found[panel][2]).any():
            drawn = _panel(axes, found[panel], levels, norm)
        else:
            say_empty(axes)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=figure.axes, shrink=min(1.0, 2.2 / rows), pad=0.02, label="training loss")
        bar.ax.yaxis.set_major_locator(LogLocator() if isinstance(norm, LogNorm) else MaxNLocator(nbins=5))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        bar.outline.set_visible(False)  # pyright: ignore
    figure.supxlabel("step along the first direction", fontsize=9)
    figure.supylabel("step along the second", fontsize=9)
    return figure


def scale(values: np.ndarray) -> tuple[np.ndarray, Normalize]:
    """Levels and norm for all panels: decades need a logarithm, less than one does not."""
    if not len(values):
        return np.linspace(0, 1, LEVELS + 1), Normalize(0, 1)
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low >= DECADE:
        return _around(np.geomspace(low, high, LEVELS + 1)), LogNorm(low, high)
    high = high if high > low else low + 1e-9
    return _around(np.linspace(low, high, LEVELS + 1)), Normalize(low, high)


def _around(levels: np.ndarray) -> np.ndarray:
    """The ends a little further out: rounding must not leave the extreme values outside."""
    margin = 1e-9 * (levels[-1] - levels[0])
    return np.array([levels[0] - margin, *levels[1:-1], levels[-1] + margin])


def _panel(axes: Axes, found: Surface, levels: np.ndarray, norm: Normalize) -> Any:
    _, steps, loss = found
    shown = np.ma.masked_invalid(loss.T)  # contour wants rows along y
    filled = axes.contourf(steps, steps, shown, levels=levels, norm=norm, cmap=COLOURS)
    axes.contour(steps, steps, shown, levels=levels[::LINES], colors=[INK], linewidths=0.4, alpha=0.6)
    axes.plot(0, 0, marker="+", markersize=8, markeredgewidth=1.4, color="white")
    axes.set_aspect("equal")
    for line in (axes.xaxis, axes.yaxis):
        line.set_major_locator(MaxNLocator(nbins=2))
    return filled


def _plain(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
