"""What figures of benches share: their axes without the word `bench.`, as a reader would say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PREFIX = "bench."
ROLES = ("x", "panels", "hue", "dash")


def plainly(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The exhibit and its cells with axes called size for bench.size; axes that lay out nothing are dropped.

    A bench without a network has no mask, which other figures take for a dense network.
    """
    named = [name for role in ROLES for name in _names(exhibit.get(role))]
    roles = {role: _plain(exhibit.get(role)) for role in ROLES}
    used = [name for name in named if all(name in cell["axes"] for cell in cells)]
    return {**exhibit, **roles}, [
        {**cell, "axes": {_plain(name): cell["axes"][name] for name in used}} for cell in cells
    ]


def _names(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(PREFIX)
    return value if value is None else [name.removeprefix(PREFIX) for name in value]
