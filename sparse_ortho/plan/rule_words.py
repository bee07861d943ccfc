"""How the masks of a cell change in training: a rule and its options, checked as far as the plan can see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.fields import TRAIN, layer_density, method
from sparse_ortho.plan.learned_words import refuse_learned
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.plan.rule_criteria import check_criteria, refuse_ranges
from sparse_ortho.plan.rule_vocabulary import in_our_words
from sparse_ortho.registry import resolve
from sparse_ortho.schedules import duration

LENGTHS = ("every", "start", "stop", "density_stop")
FRACTIONS = ("fraction", "end")


def expand_rule(value: Any, where: str, density: float | None, train: Mapping[str, Any]) -> dict[str, Any] | None:
    """{name, options without defaults}; None for masks that stay as they are. `density`: None for a dense cell."""
    if value is None:
        return None
    value = in_our_words(value, where)
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
            steps = duration(options[key], 10**9, 10**9, f"{where}.{key}")  # of a training of any length
            if key == "every" and not steps:
                raise UserError(f"{where}.every", "must be at least one step", found=options[key])
    for text in options.get("slower", ()):
        duration(text, 1, 1, f"{where}.slower")
    for key in FRACTIONS:
        if not 0 <= options.get(key, 0) <= 1:
            raise UserError(f"{where}.{key}", "out of range", found=options[key], allowed="[0, 1]")
    if "final_density" in options:
        last = layer_density(options["final_density"], f"{where}.final_density")
        if density is not None and last > density:
            raise UserError(f"{where}.final_density", f"is above the cell's density, {density:g}", found=last)
    if literal_of(path, "UNIT", "") == "n_m":
        refuse_n_m(options["n"], options["m"], density, where)
    trained = defaults(TRAIN) | dict(train)
    if "momentum" in literal_of(path, "NEEDS", ()) and trained["optimizer"] == "sgd" and not trained["momentum"]:
        raise UserError(where, f"{rule['name']} reads momentum, and train.momentum is 0", found=rule["name"])
    refuse_learned(path, options, trained, where)
    refuse_ranges(rule, where)
    check_criteria(rule, where, trained)
    return rule


def refuse_n_m(n: int, m: int, density: float | None, where: str) -> None:
    if n > m:
        raise UserError(f"{where}.n", "is more than m", found=n, allowed=f"1 to {m}")
    if density not in (None, n / m):
        raise UserError(where, f"keeps {n} of {m} weights, so the cell is dense or has that density", found=density)


def _spelled_out(value: Any) -> Any:
    """Fractions of a training may be written as numbers; lengths of time are text."""
    if not isinstance(value, dict):
        return value
    number = {key for key in LENGTHS if type(value.get(key)) in (int, float)}
    return {key: str(float(item)) if key in number else item for key, item in value.items()}
