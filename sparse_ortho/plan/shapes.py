"""What the plan knows of models without building them: weight shapes and FLOPs, frozen in schemas/shapes.json.

The file holds every model that a study names; `make schemas` writes it and a test keeps it in step. From it come the
refusal of densities that cannot be reached, before any job starts, and the nominal cost.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.budgets import budget, floor_of
from sparse_ortho.errors import UserError
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.plan.identity import Cell
from sparse_ortho.plan.options import literal_of
from sparse_ortho.registry import resolve

SHAPES = ROOT / "schemas" / "shapes.json"


@functools.cache
def known() -> dict[str, dict[str, Any]]:
    """Canonical {model, shape, classes} -> {"weights": {name: shape}, "flops": forward FLOPs of one image}."""
    return json.loads(SHAPES.read_text()) if SHAPES.is_file() else {}


def facts_of(spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """The shapes and FLOPs of the model of a spec, or None for a model that no study names."""
    return known().get(canonical({key: spec[key] for key in ("model", "shape", "classes")}))


def refuse_unreachable(cell: Cell, where: str) -> None:
    """An initialisation that needs more weights than the density leaves ends here, with the reachable range."""
    init, mask = cell.nodes["init"], cell.nodes.get("mask")
    facts = facts_of(init.spec)
    if facts is None or mask is None or mask.spec["mask"]["layers"]["name"] == "given":
        return
    name = init.spec["init"]["name"]
    shapes = [tuple(shape) for shape in facts["weights"].values()]
    size = sum(math.prod(shape) for shape in shapes)
    least = sum(floor_of(literal_of(resolve("inits", name), "FLOOR", "none"), shape) for shape in shapes)
    if budget(mask.spec["density"], size) < least:
        reach = math.ceil(least / size * 1e6) / 1e6
        raise UserError(
            f"{where}.density",
            f"out of reach of {name} on {mask.model}, which needs {least} of {size} weights",
            found=mask.spec["density"],
            allowed=f"[{reach:g}, 1]",
        )
