"""How the masks of a cell change in training: a rule and its options, checked as far as the plan can see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.fields import TRAIN, layer_density, method
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.registry import resolve
from sparse_ortho.schedules import duration

LENGTHS = ("every", "start", "stop", "density_stop")
FRACTIONS = ("fraction", "end")


def expand_rule(value: Any, where: str, density: float | None, train: Mapping[str, Any]) -> dict[str, Any] | None:
    """{name, options without defaults}; None for masks that stay as they are. `density`: None for a dense cell."""
    if value is None:
        return None
    rule = method("rules", _spelled_out(value), where)
    if rule["name"] == "static":
        return None
    path = resolve("rules", rule["name"])
    if density is None and not literal_of(path, "THINS", False):
        raise UserError(where, "a dense cell has no mask that this rule could move", found=rule["name"])
    options = defaults(path) | rule
    for key in LENGTHS:
        if key in options:
            duration(options[key], 1, 1, f"{where}.{key}")
    for key in FRACTIONS:
        if not 0 <= options.get(key, 0) <= 1:
            raise UserError(f"{where}.{key}", "out of range", found=options[key], allowed="[0, 1]")
    if "final_density" in options:
        last = layer_density(options["final_density"], f"{where}.final_density")
        if density is not None and last > density:
            raise UserError(f"{where}.final_density", f"is above the cell's density, {density:g}", found=last)
    trained = defaults(TRAIN) | dict(train)
    if "momentum" in literal_of(path, "NEEDS", ()) and trained["optimizer"] == "sgd" and not trained["momentum"]:
        raise UserError(where, f"{rule['name']} reads momentum, and train.momentum is 0", found=rule["name"])
    return rule


def _spelled_out(value: Any) -> Any:
    """Fractions of a training may be written as numbers; lengths of time are text."""
    if not isinstance(value, dict):
        return value
    number = {key for key in LENGTHS if type(value.get(key)) in (int, float)}
    return {key: str(float(item)) if key in number else item for key, item in value.items()}
