"""The functions that options name: a registered one, one of the user's own as `module:function`, or the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.registry import load, load_path, table
from sparse_ortho.rewiring.engine import Criteria

OWN = "module:function of your own"


def named_by(rule: str, drop: str, growth: str | None, redistribution: str | None = None, **judged: Any) -> Criteria:
    """The criteria that the options of a rule name; `judged` are other fields of them. Numbers are rounded up."""
    where = f"rule.{rule}"
    grow = None if growth is None else criterion("growths", growth, f"{where}.growth")
    share = None if redistribution is None else criterion("shares", redistribution, f"{where}.redistribution")
    drops = criterion("drops", drop, f"{where}.drop")
    return Criteria(drops, grow, share, round_up=True, spare_dense=share is not None, **judged)


def criterion(kind: str, name: str | Callable[..., Any], where: str) -> Callable[..., Any]:
    """`kind`: drops, growths or shares."""
    if callable(name):
        return name
    if ":" in name:
        return _own(name, where)
    if name not in table(kind):
        raise UserError(where, "unknown choice", found=name, allowed=[*table(kind), OWN])
    return load(kind, name)


def _own(path: str, where: str) -> Callable[..., Any]:
    try:
        found = load_path(path)
    except Exception as error:  # whatever a module of the user's own does when it is imported
        raise UserError(where, f"cannot be imported: {error}", found=path) from error
    if not callable(found):
        raise UserError(where, "is no function", found=path)
    return found
