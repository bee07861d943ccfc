"""Ranges of options, written beside a method: RANGES = {"gamma": "[0, 1]", "target": "above 0"}. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from sparse_ortho.errors import UserError

HOLDS: dict[str, Callable[[float], bool]] = {
    "[0, 1]": lambda value: 0 <= value <= 1,
    "above 0": lambda value: value > 0,
    "at least 0": lambda value: value >= 0,
    "at least 1": lambda value: value >= 1,
    "at least 2": lambda value: value >= 2,
    "at least 3": lambda value: value >= 3,
    "(0, 1]": lambda value: 0 < value <= 1,
}


def refuse(ranges: Mapping[str, str], options: Mapping[str, Any], where: str) -> None:
    """An option outside its range ends here; `where` is that of the method."""
    for name, words in ranges.items():
        value = options.get(name)  # a module may hold several methods
        if value is not None and not (math.isfinite(value) and HOLDS[words](value)):
            raise UserError(f"{where}.{name}", "out of range", found=value, allowed=words)
