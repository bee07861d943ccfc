"""What a data set states about itself, with its options in place.

FACTS is a literal of a data set's module. In its shape, classes, mean and std, a text names the option that decides:

    FACTS = {"shape": ("channels", "size", "size"), "classes": "classes", "mean": "mean", ...}

One mean and std for all channels of a picture is written once. The plan reads literals from source and the stage of
the data imports them; both come here, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError

DECIDED = ("shape", "classes", "mean", "std")  # what an option may decide
REQUIRED = (*DECIDED, "scale")


def with_options(facts: Mapping[str, Any], options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`facts` where every text that names an option is that option's value; `options` holds all of them."""
    for key in REQUIRED:
        if key not in facts:
            raise UserError(where, f"its module states no {key} in FACTS", found=sorted(facts), allowed=REQUIRED)
    found = dict(facts) | {key: _decided(facts[key], options, f"{where}: FACTS.{key}") for key in DECIDED}
    if not isinstance(found["shape"], tuple):
        raise UserError(f"{where}: FACTS.shape", "must be a tuple of sizes", found=found["shape"])
    channels = found["shape"][0] if len(found["shape"]) == 3 else 1
    for key in ("mean", "std"):
        if len(found[key]) == 1:
            found[key] = found[key] * channels
        elif len(found[key]) != found["shape"][0]:
            allowed = f"1 or {found['shape'][0]} of them"
            raise UserError(f"{where}.{key}", "needs a number for each channel", found=found[key], allowed=allowed)
    return found


def _decided(value: Any, options: Mapping[str, Any], where: str) -> Any:
    if isinstance(value, str):
        if value not in options:
            raise UserError(where, "names no option of the data set", found=value, allowed=options)
        value = options[value]
    return tuple(_decided(part, options, where) for part in value) if isinstance(value, tuple | list) else value
