"""What an initialisation may be called, and what it asks of the plan: data of the cell, and another one to start from.

An option that names an initialisation is declared by a module-level `BASE`, the name of that option; both methods are
then in the code digest of the cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.registry import resolve, table

# Of the released programs of EOI, SAO and ToST. Its bimodal_kaiming_normal means to be bimodal, and is Kaiming there.
INIT_WORDS: dict[str, dict[str, Any]] = {
    **{word: {"name": "isometry"} for word in ("AI", "approximate_isometry")},
    **{word: {"name": "eoi"} for word in ("EI", "EOI", "sparse_orthogonal")},
    **{word: {"name": "eoi_structured"} for word in ("EIS", "structured_sparse_orthogonal")},
    **{"SAO": {"name": "sao"}, "LRsI": {"name": "gradinit"}, "GradInit": {"name": "gradinit"}},
    **{"kaiming_normal": {"name": "kaiming"}, "plus_kaiming_normal": {"name": "kaiming_plus"}},
    "scaled_kaiming_normal": {"name": "kaiming_scaled", "fan_in": "global"},
    "conv_orthogonal": {"name": "orthogonal", "kernel": "block"},
    "delta_orthogonal": {"name": "orthogonal", "kernel": "delta"},
    **{f"{scaled}bimodal_kaiming_normal": {"name": "bimodal"} for scaled in ("", "scaled_")},
    "scaled_bimodal_vgg": {"name": "vgg", "mode": 0.8660254037844386},
    "max_sparse_orthogonal_copy": {"name": "max_sparse_orthogonal"},
}


def expand_init(value: Any, where: str) -> Any:
    """A word of the released programs, alone or with options beside it, as the registered name; others unchanged."""
    given: Mapping[str, Any] = value if isinstance(value, Mapping) else {"name": value}
    word = given.get("name")
    if not isinstance(word, str) or word in table("inits") or word not in INIT_WORDS:
        return value
    for option, said in INIT_WORDS[word].items():
        if option != "name" and given.get(option, said) != said:
            problem = f"{word} says {option}={said}, and {option} says otherwise"
            raise UserError(f"{where}.{option}", problem, found=given[option])
    return {**given, **INIT_WORDS[word]}


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
