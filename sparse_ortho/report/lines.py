"""Measured quantities against a number, as small multiples: a row a quantity, a column a value of an axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.report.line_layout import Layout, arrange
from sparse_ortho.report.line_panels import draw
from sparse_ortho.report.measured import measured
from sparse_ortho.report.multiples import Point
from sparse_ortho.report.style import styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "measures"  # what its rule hands it, read by the plan


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every point of the figure, and those without a value."""
    quantities = tuple(dict.fromkeys(exhibit.get("quantities") or ()))
    if not quantities:
        raise UserError(f"exhibit {exhibit['name']}, quantities", "names nothing to draw")
    layout = arrange(exhibit, cells)
    points = measured(exhibit["name"], cells, rows, quantities)
    with styled():
        drawn = to_bytes(draw(exhibit, layout, quantities, points))
    return {**drawn, "csv": _csv(layout, quantities, points)}


def _csv(layout: Layout, quantities: Sequence[str], points: Mapping[tuple[str, str], Point]) -> str:
    """A row a quantity and cell, in the order of the panels; a reference stands once, before the first."""
    axes = list(dict.fromkeys([*layout.panels, *layout.hue, *layout.dash, layout.x]))
    rows = []
    for quantity in quantities:
        for panel in (None, *layout.panel_keys):
            for line in layout.series:
                for _, cell in line.cells if line.panel == panel else ():
                    point = points[cell["id"], quantity]
                    drawn = "no" if not point["n"] else "reference" if line.reference else "line"
                    told = {axis: cell["axes"][axis] for axis in axes}
                    rows.append(told | point | {"quantity": quantity, "drawn": drawn, "cell": cell["id"]})
    columns = ["quantity", *axes, "mean", "min", "max", "n", "refused", "missing", "planned", "drawn", "cell"]
    return csv_text(columns, rows)
