"""What a factorial exhibit needs of its cells: factors of two levels, every combination, nothing tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError
from sparse_ortho.plan.config import Exhibit, Grid

KIND = "factorial"


def check_factors(exhibit: Exhibit, grid: Grid, places: Sequence[Mapping[str, Any]], where: str) -> None:
    """`places`: the axes of each cell."""
    if exhibit.kind != KIND:
        return
    if not exhibit.rows:
        raise UserError(f"{where}.rows", "names the factors of a factorial, and there are none")
    if grid.tune:
        raise UserError(f"{where}.tune", "a factorial compares cells as they are written, and tunes none")
    for factor in exhibit.rows:
        levels = list(dict.fromkeys(canonical(place[factor]) for place in places))
        if len(levels) != 2:
            raise UserError(f"{where}: rows", f"the factor {factor} must have two levels", found=", ".join(levels))
    combinations = {canonical([place[factor] for factor in exhibit.rows]) for place in places}
    if len(combinations) < 2 ** len(exhibit.rows):
        problem = f"{len(combinations)} of the {2 ** len(exhibit.rows)} combinations of the factors are there"
        raise UserError(f"{where}.cells", problem, allowed="every combination")
