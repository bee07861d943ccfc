"""What a table of layer collapse needs of its cells: measure `effective`, and density as what is looked for."""

from __future__ import annotations

from collections.abc import Iterable

from sparse_ortho.errors import UserError
from sparse_ortho.plan.config import Exhibit

KIND, MEASURE, AXIS = "collapse", "effective", "density"


def check_collapse(exhibit: Exhibit, measures: Iterable[str], where: str) -> None:
    """`measures`: the measure of each cell."""
    if exhibit.kind != KIND:
        return
    for role, axes in (("rows", exhibit.rows), ("columns", exhibit.columns)):
        if AXIS in axes:
            raise UserError(f"{where}: {role}", "density is what a table of collapse looks for, and no axis of it")
    for name in measures:
        if name != MEASURE:
            raise UserError(f"{where}: measure", "a table of collapse reads another", found=name, allowed=[MEASURE])
