"""Measured times against a size, on two logarithmic scales, with the exponent of each line.

    log seconds = a + b log size,   b by least squares over the cells of a line, with its 95 % interval (t, n - 2 df)

from three sizes on; the least squares line is drawn dotted beside the points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from sparse_ortho.errors import UserError
from sparse_ortho.report.benched import plainly
from sparse_ortho.report.line_layout import Layout, Series, arrange
from sparse_ortho.report.line_panels import draw
from sparse_ortho.report.measured import measured
from sparse_ortho.report.multiples import Point
from sparse_ortho.report.style import INK, PALETTE, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "benches"  # what its rule hands it, read by the plan
FEWEST = 3  # points of a fit that has an interval
ROOM = 0.075  # of the height of a panel, for one exponent
Points = Mapping[tuple[str, str], Point]


@dataclass(frozen=True)
class Fit:
    exponent: float
    half_width: float  # of the 95 % interval
    intercept: float


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; one row of panels a quantity, both scales logarithmic."""
    quantities = [str(name) for name in dict.fromkeys(exhibit.get("quantities") or ())]
    if not quantities:
        raise UserError(f"exhibit {exhibit['name']}, quantities", "names nothing to draw")
    told, shown = plainly(exhibit, cells)
    layout = arrange(told, shown)
    points = measured(exhibit["name"], shown, rows, quantities)
    fits = {(q, at): fitted(line, q, points) for q in quantities for at, line in enumerate(layout.series)}
    with styled():
        figure = draw({**told, "log_x": True, "log_y": True}, layout, quantities, points)
        _tell(figure, layout, quantities, fits)
        drawn = to_bytes(figure)
    return {**drawn, "csv": _csv(layout, quantities, points, fits)}


def fitted(line: Series, quantity: str, points: Points) -> Fit | None:
    """The power law of a line, of the means of its cells; None of fewer than three positive ones."""
    found = [(x, points[cell["id"], quantity]["mean"]) for x, cell in line.cells]
    found = [(x, mean) for x, mean in found if x and mean is not None and mean > 0]
    if len({x for x, _ in found}) < FEWEST:
        return None
    result: Any = stats.linregress(*np.log(np.array(found)).T)
    width = float(stats.t.ppf(0.975, len(found) - 2)) * float(result.stderr)
    return Fit(float(result.slope), width, float(result.intercept))


def _tell(
    figure: Figure, layout: Layout, quantities: Sequence[str], fits: Mapping[tuple[str, int], Fit | None]
) -> None:
    """The fitted lines, and their exponents in the corner that rising lines leave free."""
    columns = len(layout.panel_keys)
    for place, axes in enumerate(figure.axes[: columns * len(quantities)]):
        quantity, panel = quantities[place // columns], layout.panel_keys[place % columns]
        told = 0
        fitted_here = [line for at, line in enumerate(layout.series) if fits[quantity, at]]
        if place % columns == 0 and fitted_here:  # one scale a row: room above for what its fullest panel tells
            low, high = axes.get_ylim()
            fullest = max(sum(line.panel in (None, key) for line in fitted_here) for key in layout.panel_keys)
            axes.set_ylim(low, high * (high / low) ** (ROOM * fullest))
        for at, line in enumerate(layout.series):
            if line.panel not in (None, panel) or (fit := fits[quantity, at]) is None:
                continue
            colour = INK if line.hue is None else PALETTE[layout.hues.index(line.hue)]
            sizes = np.array([x for x, _ in line.cells if x])
            axes.plot(sizes, np.exp(fit.intercept) * sizes**fit.exponent, ":", color=colour, linewidth=0.9)
            words = f"{' '.join([*(line.hue or ()), *(line.dash or ())])}  {fit.exponent:.2f} ± {fit.half_width:.2f}"
            axes.text(0.02, 0.99 - ROOM * told, words, color=colour, fontsize=7, va="top", transform=axes.transAxes)
            told += 1


def _csv(
    layout: Layout,
    quantities: Sequence[str],
    points: Points,
    fits: Mapping[tuple[str, int], Fit | None],
) -> str:
    """A row a quantity and cell, with the fit of the line that it belongs to."""
    axes = list(dict.fromkeys([*layout.panels, *layout.hue, *layout.dash, layout.x]))
    rows = []
    for quantity in quantities:
        for at, line in enumerate(layout.series):
            fit = fits[quantity, at]
            law = {"exponent": fit.exponent, "exponent_half_width": fit.half_width} if fit else {}
            for _, cell in line.cells:
                told = {axis: cell["axes"][axis] for axis in axes}
                rows.append(told | points[cell["id"], quantity] | law | {"quantity": quantity, "cell": cell["id"]})
    columns = ["quantity", *axes, "mean", "min", "max", "n", "refused", "missing", "planned"]
    return csv_text([*columns, "exponent", "exponent_half_width", "cell"], rows)
