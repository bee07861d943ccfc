"""What the plan knows of a measurement: when it looks at a network, and whether it compares one with the next seed's.

A measurement is `at: init`, of the network as it was initialised, or `at: end`, of the trained one. A method that
compares two seeds of a cell says so with `PAIR = True`; only trained networks are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.fields import method
from sparse_ortho.plan.options import literal_of
from sparse_ortho.registry import resolve

MOMENT = "sparse_ortho.measure.moment:Moment"  # options that every measurement has


def expand_measure(value: Any, where: str) -> dict[str, Any]:
    """{name, options without defaults} of a measurement."""
    measure = method("measures", value or "jacobian", where, MOMENT)
    if compares(measure) and measure.get("at") != "end":
        raise UserError(f"{where}.at", f"{measure['name']} compares trained networks", found="init", allowed=["end"])
    return measure


def compares(measure: Mapping[str, Any]) -> bool:
    """Whether it takes the network of the next seed as well."""
    return literal_of(resolve("measures", measure["name"]), "PAIR", False)


def measured(measure: Mapping[str, Any], data: str, init: str, train: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What the spec of a measurement says of itself, and what it is made from."""
    spec = {"measure": measure} | ({"pair": True} if compares(measure) else {})
    inputs = {"data": data, "init": init}
    return spec, inputs | {"train": train} if measure.get("at") == "end" else inputs


def refuse_single_seed(spec: Mapping[str, Any], seeds: int, where: str) -> None:
    if spec.get("pair") and seeds < 2:
        raise UserError(where, f"{spec['measure']['name']} compares two seeds of a cell, and it has one", found=seeds)
