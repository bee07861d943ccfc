"""Which lines a figure of measures has: cells by panel, colour and dashes.

A dense cell is a reference: it has no mask, no ticket and no density to be put by, so where such an axis makes panels,
colours or x, it belongs to all of it. A ticket of a dense start is no dense cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import Key, key, ordered, unique
from sparse_ortho.report.multiples import check_axes
from sparse_ortho.report.style import PALETTE

OF_MASKS = ("mask", "density", "ticket", "ticket.density", "ticket.kind", "ticket.levels")
NO_TICKET = (None, 0, 1.0, "none")  # what such an axis says of a cell without a ladder

Cell = Mapping[str, Any]


@dataclass
class Series:
    """The cells of one line by x; None as a sign or as an x is all of that axis."""

    reference: bool
    panel: Key | None
    hue: Key | None
    dash: Key | None
    cells: list[tuple[float | None, Cell]] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """The axes by their role, the values that they take, and the lines in the order of the legend."""

    x: str
    panels: tuple[str, ...]
    hue: tuple[str, ...]
    dash: tuple[str, ...]
    panel_keys: list[Key]
    hues: list[Key]
    dashes: list[Key]
    series: list[Series]


def arrange(exhibit: Mapping[str, Any], cells: Sequence[Cell]) -> Layout:
    """The layout that an exhibit asks for; two cells in one place, or an axis that cells lack, are refused."""
    name, x = exhibit["name"], exhibit["x"]
    panels, hue, dash = (_names(exhibit, role) for role in ("panels", "hue", "dash"))
    if len(panels) > 1:
        raise UserError(f"exhibit {name}, panels", "takes one axis at most", found=", ".join(panels))
    check_axes(name, cells, {"x": [x], "panels": panels, "hue": hue, "dash": dash})
    dense = [cell for cell in cells if _is_dense(cell)]
    sparse = [cell for cell in cells if not _is_dense(cell)]
    found = _series(name, x, [*sparse, *dense], (panels, hue, dash))
    names = (*panels, *hue, *dash, x)
    unique(name, sparse, names)
    unique(name, dense, [axis for axis in names if axis not in OF_MASKS])
    panel_keys, hues, dashes = (
        ordered([cell["axes"] for cell in (sparse if set(axis) & set(OF_MASKS) else cells)], axis)
        for axis in (panels, hue, dash)
    )
    if len(hues) > len(PALETTE):
        raise UserError(f"exhibit {name}, hue", f"has more than {len(PALETTE)} values", found=len(hues))
    series = sorted(
        found,
        key=lambda s: (
            s.reference,
            s.hue is not None and hues.index(s.hue),
            s.dash is not None and dashes.index(s.dash),
        ),
    )
    return Layout(x, panels, hue, dash, panel_keys or [key({}, panels)], hues, dashes, series)


def _series(exhibit: str, x: str, cells: Sequence[Cell], axes: Sequence[tuple[str, ...]]) -> list[Series]:
    found: dict[tuple[Any, ...], Series] = {}
    for cell in cells:
        dense = _is_dense(cell)
        panel, hue, dash = (
            None if dense and set(names) & set(OF_MASKS) else key(cell["axes"], names) for names in axes
        )
        at = None if dense and x in OF_MASKS else _number(exhibit, cell, x)
        found.setdefault((dense, panel, hue, dash), Series(dense, panel, hue, dash)).cells.append((at, cell))
    for line in found.values():
        line.cells.sort(key=lambda pair: pair[0] or 0.0)
    return list(found.values())


def _names(exhibit: Mapping[str, Any], role: str) -> tuple[str, ...]:
    found = exhibit.get(role) or ()
    return (found,) if isinstance(found, str) else tuple(found)


def _number(exhibit: str, cell: Cell, x: str) -> float:
    value = cell["axes"][x]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"exhibit {exhibit}, x", f"{x} is no number in cell {cell['id']}", found=value)
    return float(value)


def _is_dense(cell: Cell) -> bool:
    climbs = any(axis.startswith("ticket") and value not in NO_TICKET for axis, value in cell["axes"].items())
    return cell["axes"].get("mask") == "dense" and not climbs
