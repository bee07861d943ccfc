"""What a table with a baseline needs of its cells: one axis that has the value, and only one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError
from sparse_ortho.plan.config import Exhibit

KIND = "table"


def check_baseline(exhibit: Exhibit, places: Sequence[Mapping[str, Any]], where: str) -> None:
    """`places`: the axes of each cell."""
    if exhibit.baseline is None:
        return
    if exhibit.kind != KIND:
        raise UserError(
            f"{where}: baseline", "only a table compares with a baseline", found=exhibit.kind, allowed=[KIND]
        )
    name, _, value = exhibit.baseline.rpartition("=")
    laid = [*exhibit.rows, *exhibit.columns]
    if name and name not in laid:
        raise UserError(f"{where}: baseline", "is no axis of the table", found=name, allowed=laid)
    values = {axis: list(dict.fromkeys(_word(place[axis]) for place in places)) for axis in laid if name in ("", axis)}
    holders = [axis for axis, found in values.items() if value in found]
    if not holders:
        known = [word for found in values.values() for word in found]
        raise UserError(f"{where}: baseline", "no cell of the table has it", found=exhibit.baseline, allowed=known)
    if len(holders) > 1:
        named = [f"{axis}={value}" for axis in holders]
        raise UserError(f"{where}: baseline", "is a value of several axes", found=value, allowed=named)


def _word(value: Any) -> str:
    """As tables write it (report.text.show)."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else canonical(value)
