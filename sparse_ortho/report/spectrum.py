"""Spectral densities of Hessians: a panel a combination of axes, a line a hue, on a logarithmic scale.

    u(t) = arsinh(t / s),   s = LINEAR of the largest eigenvalue of the figure, in absolute value
    phi(u) = mean over probes and seeds of sum_j w_j N(u; u(theta_j), SMOOTH^2)

of the nodes and weights that measure `hessian` left. The axis is linear within s of 0 and logarithmic far from it: the
largest eigenvalue of a dense LeNet-300-100 falls from 69 to 1.9 in two epochs, and on a linear axis one of these two
spectra is a line at 0. phi is the share of eigenvalues for one unit of the axis, all cells smoothed alike. Marks under
a curve: the largest eigenvalues by Lanczos, of every seed. The csv has the curves, s and the marks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from sparse_ortho.report.collect import Key, ordered, unique
from sparse_ortho.report.indexed import Found, check_names, indexed
from sparse_ortho.report.multiples import (
    PANEL_WIDTH,
    check_axes,
    extent,
    legend_above,
    panel_keys,
    panel_title,
    places,
    say_empty,
    subplots,
)
from sparse_ortho.report.style import QUIET, line_style, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "measures"  # what its rule hands it, read by the plan
SHOWS = {"name": "hessian"}  # the one that it draws
LINEAR, SMOOTH = 1e-3, 0.2
FINE = 801  # points of a curve
FLOOR = 0.1  # of an eigenvalue is drawn, by the height of its bell; it has a share of 1 / weights
TAIL = 7  # sigma: a bell is then 2e-11 of its middle
SHARE = 1e-6  # of one eigenvalue, where nobody says how many there are

Curve = tuple[np.ndarray, np.ndarray, list[float]]  # eigenvalues, density, the largest eigenvalues


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every point of the curves, and the marks."""
    panels, hue = tuple(exhibit.get("panels") or ()), (exhibit["hue"],) if exhibit.get("hue") else ()
    check_axes(exhibit["name"], cells, {"panels": panels, "hue": hue})
    placed = unique(exhibit["name"], cells, (*panels, *hue))
    found = indexed(cells, rows)
    check_names(exhibit["name"], "kind spectrum needs", ["node", "weight", "top"], found)
    spectra = {
        key: [found[cell["id"], s] for s in cell["seeds"] if (cell["id"], s) in found] for key, cell in placed.items()
    }
    linear = LINEAR * max((_largest(seeds) for seeds in spectra.values()), default=0.0) or 1.0
    curves = {key: curve(seeds, linear) for key, seeds in spectra.items() if seeds}
    shares = [1 / value for seeds in spectra.values() for seed in seeds for value in seed.get("weights", {}).values()]
    floor = FLOOR * min(shares, default=SHARE) / (SMOOTH * math.sqrt(2 * math.pi))
    keys, hues = panel_keys(cells, panels), ordered([cell["axes"] for cell in cells], hue)
    with styled():
        drawn = to_bytes(_draw(panels, hue, keys, hues, curves, (linear, floor)))
    told = []
    for key, (at, dense, top) in curves.items():
        about = dict(zip(panels + hue, key, strict=True)) | {"linear": linear, "cell": placed[key]["id"]}
        told += [about | {"eigenvalue": x, "density": y} for x, y in zip(at.tolist(), dense.tolist(), strict=True)]
        told += [about | {"eigenvalue": x, "density": None} for x in top]
    return {**drawn, "csv": csv_text([*panels, *hue, "eigenvalue", "density", "linear", "cell"], told)}


def curve(seeds: Sequence[Found], linear: float) -> Curve:
    """The density of all probes of all seeds together, from where it begins to where it ends."""
    nodes = np.arcsinh([value / linear for seed in seeds for value in seed["node"].values()])
    weights = np.array([seed["weight"][place] for seed in seeds for place in seed["node"]])
    at = np.linspace(nodes.min() - TAIL * SMOOTH, nodes.max() + TAIL * SMOOTH, FINE)
    bells = np.exp(-0.5 * ((at[:, None] - nodes) / SMOOTH) ** 2) / (SMOOTH * math.sqrt(2 * math.pi))
    top = [value for seed in seeds for value in seed.get("top", {}).values()]
    return linear * np.sinh(at), bells @ (weights / weights.sum()), top


def _largest(seeds: Sequence[Found]) -> float:
    return max((abs(value) for seed in seeds for value in seed.get("node", {}).values()), default=0.0)


def _draw(
    panels: Sequence[str],
    hue: Sequence[str],
    keys: Sequence[Key],
    hues: Sequence[Key],
    curves: Mapping[Key, Curve],
    scales: tuple[float, float],
) -> Figure:
    grid, (linear, floor) = places(panels, keys), scales
    rows, columns = extent(grid)
    figure = new_figure(max(5.6, (PANEL_WIDTH + 0.3) * columns + 0.8), 2.2 * rows + 1.1)
    most = max((dense.max() for _, dense, _ in curves.values()), default=1.0)
    for panel, axes in subplots(figure, grid).items():
        mine = [(i, curves[*panel, *value]) for i, value in enumerate(hues) if (*panel, *value) in curves]
        axes.set_title(panel_title(panels, panel))
        axes.set_yscale("log")
        axes.set_ylim(floor, 3 * most)
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xscale("asinh", linear_width=linear)
        axes.xaxis.set_major_locator(FixedLocator(ticks(curves.values(), linear)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        for i, found in mine:
            _panel(axes, found, line_style(i), floor * (3 * most / floor) ** (0.03 + 0.05 * i))
        if not mine:
            say_empty(axes)
    figure.supxlabel("eigenvalue of the Hessian on the surviving weights", fontsize=9)
    figure.supylabel("share of eigenvalues\nfor one unit of the axis", fontsize=9)
    handles = [Line2D([], [], label=panel_title(hue, value), **line_style(i)) for i, value in enumerate(hues) if value]
    mark = Line2D([], [], color=QUIET, linestyle="", marker="|", markersize=6, label="largest eigenvalues")
    legend_above(figure, [*handles, mark], columns)
    return figure


def ticks(curves: Iterable[Curve], linear: float) -> list[float]:
    """Zero and the powers of ten that are in view, every other one where they are many; none in the linear part."""
    ends = [value for at, _, _ in curves for value in (at[0], at[-1])] or [-1.0, 1.0]
    found = [0.0]
    for sign, most in ((-1, -min(ends)), (1, max(ends))):
        high, low = math.floor(math.log10(max(most, 1e-300))), math.ceil(math.log10(3 * linear))
        found += [sign * 10.0**power for power in range(high, low - 1, -1 if high - low < 3 else -2)]
    return sorted(found)


def _panel(axes: Axes, found: Curve, look: Mapping[str, Any], height: float) -> None:
    at, dense, top = found
    axes.plot(at, np.maximum(dense, 1e-300), **dict(look))
    axes.fill_between(at, dense, 1e-300, color=look["color"], alpha=0.12, linewidth=0)
    axes.plot(top, [height] * len(top), color=look["color"], linestyle="", marker="|", markersize=6)
