"""What a mask says besides its score and layers: a structure that it keeps, a repair after it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.fields import method
from sparse_ortho.plan.grid import named
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.registry import resolve

BESIDE = {"structure": "structures", "repair": "repairs"}  # key of a mask -> what it names
SAME = ("uniform", "global")  # layers that a structure of one density may be asked for with


def beside(mask: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Structure and repair, checked; not both: a repair moves single weights."""
    found = {key: method(kind, mask[key], f"{where}.{key}") for key, kind in BESIDE.items() if mask.get(key)}
    if len(found) > 1:
        structure = found["structure"]["name"]
        raise UserError(f"{where}.repair", f"moves single weights, which would end the structure {structure}")
    return found


def _ratio(mask: Mapping[str, Any]) -> tuple[int, int] | None:
    """The two numbers whose ratio is the only density of a structure."""
    if "structure" not in mask:
        return None
    path = resolve("structures", mask["structure"]["name"])
    options, names = defaults(path) | mask["structure"], literal_of(path, "DENSITY", None)
    return (options[names[0]], options[names[1]]) if names else None


def only_density(mask: Mapping[str, Any] | None) -> float | None:
    ratio = _ratio(mask or {})
    return ratio[0] / ratio[1] if ratio and ratio[1] > 0 else None


def of_one_density(layers: Any, mask: Mapping[str, Any], where: str) -> str:
    """Layers have no say under a structure that fixes the density of each."""
    name = None if isinstance(layers, dict) and "name" not in layers else named(layers, where).get("name")
    if name not in SAME:
        structure, density = mask["structure"]["name"], only_density(mask)
        problem = f"the structure {structure} has density {density:.6g} in every layer"
        raise UserError(where, problem, found=layers, allowed=SAME)
    return SAME[0]


def asked_density(value: Any, mask: Mapping[str, Any] | None, where: str) -> Any:
    """The density of a cell: what it says, unless its structure knows only one."""
    ratio = _ratio(mask or {})
    if mask is None or ratio is None:
        return value
    over, under = ratio
    name = mask["structure"]["name"]
    if not 1 <= over <= under:
        raise UserError(f"{where}.mask.structure", f"{name} keeps {over} of {under}", allowed="at least 1, at most all")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and math.isclose(value, over / under, rel_tol=1e-6)):
        problem = f"the structure {name} with {over} of {under} has one density"
        raise UserError(f"{where}.density", problem, found=value, allowed=f"{over / under:.7g}")
    return over / under


def refuse_lost(mask: Mapping[str, Any] | None, init: str, where: str) -> None:
    """An initialisation with positions of its own reads the numbers of a mask alone, so a structure would be lost."""
    if not mask or "structure" not in mask:
        return
    path, structure = resolve("inits", init), mask["structure"]["name"]
    unit = literal_of(path, "UNIT", None)
    moves = unit is not None or literal_of(path, "FLOOR", None) is not None
    if moves and unit != literal_of(resolve("structures", structure), "UNIT", ""):
        raise UserError(f"{where}.init", f"{init} has positions of its own, and would lose the structure {structure}")


def least_weights(mask: Mapping[str, Any], runs: list[list[Any]]) -> Iterator[tuple[str, int]]:
    """Who needs weights and how many: a structure its smallest unit."""
    if "structure" not in mask:
        return
    name = mask["structure"]["name"]
    path = resolve("structures", name)
    shapes, unit = [shape for _, shape in runs], literal_of(path, "UNIT", None)
    if unit == "kernel":
        yield f"structure {name}", min(math.prod(shape[2:]) for shape in shapes)
    if unit == "fan_in":
        yield f"structure {name}", min(shape[0] for shape in shapes)
    if unit == "block":  # one row at least: groups, which no shape shows, may leave blocks of fewer rows than asked for
        sides, cols = [math.prod(shape[1:]) for shape in shapes], (defaults(path) | mask["structure"])["cols"]
        yield f"structure {name}", min(side % cols or cols for side in sides)
