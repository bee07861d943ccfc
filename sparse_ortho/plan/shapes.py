"""What the plan knows of models without building them: weight shapes and FLOPs, frozen in schemas/shapes.json.

The file holds every model that a study names, one a line; `make schemas` writes it and a test keeps it in step. From it
come the refusal of densities that cannot be reached, before any job starts, and the nominal cost. Equal shapes that
follow one another are written once, with their number: the 1000-layer networks are three entries each.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.budgets import Shape, budget, floor_of
from sparse_ortho.errors import UserError
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.plan.identity import Cell
from sparse_ortho.plan.init_words import base_of
from sparse_ortho.plan.mask_sources import refuse_misfit
from sparse_ortho.plan.mask_words import layers_kind
from sparse_ortho.plan.misfits import refuse_misfits
from sparse_ortho.plan.options import literal_of
from sparse_ortho.plan.structure_words import least_weights
from sparse_ortho.registry import resolve

SHAPES = ROOT / "schemas" / "shapes.json"


@functools.cache
def known() -> dict[str, dict[str, Any]]:
    """Canonical {model, shape, classes} -> {"weights": [[number, shape], ...], "flops": forward FLOPs of one image}."""
    return json.loads(SHAPES.read_text()) if SHAPES.is_file() else {}


def facts_of(spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """The shapes and FLOPs of the model of a spec, or None for a model that no study names."""
    return known().get(canonical({key: spec[key] for key in ("model", "shape", "classes")}))


def as_runs(shapes: Iterable[Iterable[int]]) -> list[list[Any]]:
    """[[number, shape], ...] of shapes in the order of the network."""
    return [[len(list(run)), list(shape)] for shape, run in itertools.groupby(map(tuple, shapes))]


def layers(facts: Mapping[str, Any]) -> list[Shape]:
    """The shape of every weight in the order of the network."""
    return [tuple(shape) for number, shape in facts["weights"] for _ in range(number)]


def size_of(facts: Mapping[str, Any]) -> int:
    """The number of weights that could have a mask."""
    return sum(number * math.prod(shape) for number, shape in facts["weights"])


def refuse_unreachable(cell: Cell, where: str) -> None:
    """A mask or initialisation that needs more weights than the density leaves ends here, with the reachable range."""
    init, mask = cell.start, cell.nodes.get("mask")  # a bench may have no network
    facts = facts_of(init.spec) if init else None
    refuse_misfits(cell, facts, where)
    if mask and mask.sources:
        refuse_misfit(mask.sources, facts, mask.model, where)
    if init is None or facts is None or mask is None or mask.spec["mask"]["layers"]["name"] == "given":
        return
    size = size_of(facts)
    first = base_of(init.spec["init"]) or init.spec["init"]["name"]  # what it starts from has the floor
    needed = _needed(first, mask.spec["mask"]["layers"], facts["weights"])
    for name, least in [*needed, *least_weights(mask.spec["mask"], facts["weights"])]:
        if budget(mask.spec["density"], size) < least:
            reach = math.ceil(least / size * 1e6) / 1e6
            raise UserError(
                f"{where}.density",
                f"out of reach of {name} on {mask.model}, which needs {least} of {size} weights",
                found=mask.spec["density"],
                allowed=f"[{reach:g}, 1]",
            )


def _needed(init: str, scheme: Mapping[str, Any], runs: list[list[Any]]) -> Iterator[tuple[str, int]]:
    """Who needs weights and how many: a scheme that keeps layers whole, an initialisation with a floor in each."""
    if scheme["name"] != "global" and layers_kind(scheme) == "densities":
        path = resolve("densities", scheme["name"])
        if literal_of(path, "DENSE", None) == "ends":
            last = runs[-1] if sum(number for number, _ in runs) > 1 else [0, [0]]
            yield scheme["name"], math.prod(runs[0][1]) + math.prod(last[1])
    path = resolve("inits", init)
    floor, whole = literal_of(path, "FLOOR", "none"), literal_of(path, "UNIT", None) == "kernel"
    yield init, sum(n * floor_of(floor, tuple(s)) * (math.prod(s[2:]) if whole else 1) for n, s in runs)
