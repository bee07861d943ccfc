"""The fields of a cell as somebody wrote them: checked, typed, and without what equals its default."""

from __future__ import annotations

import functools
import json
from typing import Any

from sparse_ortho import ranges
from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError
from sparse_ortho.plan.grid import named
from sparse_ortho.plan.options import check, defaults, literal_of
from sparse_ortho.registry import resolve
from sparse_ortho.streams import PURPOSES

BUILD = "sparse_ortho.data.build:build#validation"  # an option that every data set has
TAKE = "sparse_ortho.data.build:build#take"  # another one
INITIALIZE = "sparse_ortho.inits.initialize:initialize#bias_std"  # an option that every initialisation has
TRAIN = "sparse_ortho.training.options:TrainOptions"


def method(kind: str, value: Any, where: str, *shared: str) -> dict[str, Any]:
    """{name, options without defaults} of a registered method; `shared` adds options common to the whole kind."""
    given = named(value, where)
    return dict(_method_of(kind, canonical_or_refuse(given, where), where, shared))


@functools.cache
def _method_of(kind: str, text: str, where: str, shared: tuple[str, ...]) -> dict[str, Any]:
    given = json.loads(text)
    name = given.pop("name", None)
    if name is None:
        raise UserError(f"{where}.name", "is required but absent")
    path = resolve(kind, name, where)
    found = {"name": name} | check((path, *shared), given, where)
    ranges.refuse(literal_of(path, "RANGES", {}), defaults(path) | found, where)
    return found


def canonical_or_refuse(value: Any, where: str) -> str:
    try:
        return canonical(value)
    except (TypeError, ValueError) as error:
        raise UserError(where, f"holds something that is not plain data: {error}") from None


def cell_density(value: Any, mask: Any, where: str) -> float:
    if mask is None:
        if value not in (None, 1, 1.0):
            raise UserError(f"{where}.density", "a dense cell keeps every weight", found=value, allowed="1")
        return 1.0
    if value is None:
        if mask["layers"]["name"] == "given":
            return 1.0
        raise UserError(f"{where}.density", "is required but absent", allowed="(0, 1]")
    return layer_density(value, f"{where}.density")


def layer_density(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise UserError(where, "out of range", found=value, allowed="(0, 1]")
    return float(value)


def fixed_seeds(value: Any, where: str) -> dict[str, int]:
    if not isinstance(value, dict):
        raise UserError(where, "must map purposes to seeds", found=value)
    for purpose, seed in value.items():
        if purpose not in PURPOSES:
            raise UserError(f"{where}.{purpose}", "unknown purpose", found=purpose, allowed=PURPOSES)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"{where}.{purpose}", "must be a whole number from 0", found=seed)
    return dict(value)
