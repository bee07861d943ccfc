"""What an initialisation asks of the plan: data of the cell, and another initialisation that it starts from.

An option that names an initialisation is declared by a module-level `BASE`, the name of that option; both methods are
then in the code digest of the cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.registry import resolve


def base_of(init: Mapping[str, Any], where: str = "init") -> str | None:
    """The initialisation that this one starts from, if it starts from one."""
    path = resolve("inits", init["name"])
    if (option := literal_of(path, "BASE", None)) is None:
        return None
    base = (defaults(path) | dict(init))[option]
    if literal_of(resolve("inits", base, f"{where}.{option}"), "BASE", None) is not None:
        raise UserError(f"{where}.{option}", "starts from another initialisation itself", found=base)
    return base


def needs_data(init: Mapping[str, Any]) -> bool:
    return "data" in literal_of(resolve("inits", init["name"]), "NEEDS", ())


def refuse_data(init: Mapping[str, Any], where: str) -> None:
    """Where a network is only initialised so that a score can look at it, no initialisation gets images."""
    if needs_data(init):
        raise UserError(where, "reads images, and none are there before a mask is chosen", found=init["name"])
