"""What a cell's tricks are called where an exhibit puts its cells by them; without imports, for plan/grid.py."""

from __future__ import annotations

from typing import Any

OFF = "none"
ON = "on"


def trick_axis(tricks: Any, option: str) -> Any:
    """Of `tricks` the names of those that are on; of `tricks.soft` what it is told; of `tricks.soft.fraction` that."""
    if isinstance(tricks, str):
        tricks = {tricks: True}
    tricks = tricks if isinstance(tricks, dict) else {}
    name, _, inner = option.partition(".")
    if not name:
        return "+".join(sorted(n for n, told in tricks.items() if "." not in n and not is_off(told))) or OFF
    told = tricks.get(name)
    if inner:
        inside = told.get(inner) if isinstance(told, dict) else None
        return tricks.get(option, inside)
    if is_off(told):
        return OFF
    if isinstance(told, dict):
        words = [str(value) if key == "kind" else f"{key} {value}" for key, value in told.items()]
        return ", ".join(words) or ON
    return ON if told is True else told


def is_off(told: Any) -> bool:
    return told is None or told is False or told == OFF
