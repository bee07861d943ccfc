"""What a method may be given: options are the keyword-only parameters of its function, needs its module's NEEDS."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.registry import load, resolve


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Option name -> default."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def method(kind: str, name: str, options: Mapping[str, Any] | None, *, data: object = None) -> Callable[..., Any]:
    """The registered method, after checking its options and that it has the data it reads."""
    function = load(kind, name)
    known = options_of(function)
    for option in options or {}:
        if option not in known:
            raise UserError(f"{kind}.{name}", "unknown option", found=option, allowed=known or "no options")
    module = resolve(kind, name).partition(":")[0]
    if data is None and "data" in getattr(sys.modules[module], "NEEDS", ()):
        raise UserError(f"{kind}.{name}", "needs data, and none was given; pass data=[(x, y), ...]")
    return function
