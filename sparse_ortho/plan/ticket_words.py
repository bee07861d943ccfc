"""What a ladder of tickets is called: short words for its options, its axes in an exhibit; without imports of the plan.

A level is a training and a pruning; a cell of `levels: 0` is the cell without a ticket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RATE = 0.2  # of a level, where nothing is said: 20 % a round are the sixteen rungs of ToST, 0.8^1 to 0.8^16
TAKEN = ("masks_of", "signs_of")  # what a ladder may take of another one, level by level
KINDS: dict[str, dict[str, Any]] = {  # words of `kind` that stand for other options
    "imp": {"kind": "lt"},
    "lrr": {"kind": "lt", "reset": "nothing"},
    "random": {"kind": "lt", "score": "random"},
}


def spelled_out(ticket: Mapping[str, Any]) -> dict[str, Any]:
    """The options with a word of KINDS expanded; what is said beside the word comes first."""
    word = str(ticket.get("kind"))
    return {**KINDS.get(word, {}), **{k: v for k, v in ticket.items() if k != "kind" or word not in KINDS}}


def density_at(ticket: Mapping[str, Any], level: int, start: float) -> float:
    """The density after so many levels of a ladder that starts at `start`, as far as a plan can say it."""
    levels, densities = ticket.get("levels", 1), ticket.get("densities") or ()
    density, rate = ticket.get("density"), ticket.get("rate")
    if level == 0:
        return start
    if densities:
        return densities[level - 1]
    if density is not None and level == levels:
        return density
    if density is not None and rate is None:
        return _rounded(start * (density / start) ** (level / levels))
    return _rounded(start * (1 - (RATE if rate is None else rate)) ** level)


def ticket_axis(ticket: Any, option: str, start: Any) -> Any:
    """The coordinate of a cell; `ticket.density` is what the plan says that it keeps, and no ticket is level 0."""
    start = float(start) if isinstance(start, int | float) else 1.0
    given = ticket if isinstance(ticket, dict) else {}
    levels = given.get("levels", 1) if given else 0
    if not option:
        return f"{given.get('kind', 'lt')} {levels}" if levels else "none"
    if option == "levels":
        return levels
    if option == "density":
        whole = type(levels) is int and (not given.get("densities") or levels <= len(given["densities"]))
        return density_at(given, levels, start) if whole else None
    value = given.get(option, {"kind": "lt", "score": "magnitude"}.get(option) if given else None)
    return value.get("name") if isinstance(value, dict) and option not in (*TAKEN, "train") else value


def _rounded(value: float) -> float:
    """To twelve digits: powers may differ in the last one between machines, and identities are made from them."""
    return float(f"{value:.12g}")
