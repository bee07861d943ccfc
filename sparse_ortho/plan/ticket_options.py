"""The options of a ladder of tickets as somebody wrote them: checked, and without what equals its default."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.fields import TRAIN, canonical_or_refuse, layer_density, method
from sparse_ortho.plan.options import check, defaults
from sparse_ortho.plan.ticket_words import KINDS, TAKEN, spelled_out
from sparse_ortho.registry import resolve
from sparse_ortho.schedules import duration

OPTIONS = "sparse_ortho.tickets.options:TicketOptions"
MOST = 100  # levels; 0.8^100 is one weight of five thousand million


def expand_ticket(value: Any, where: str) -> dict[str, Any]:
    """The options of a ladder, checked and without defaults; {} for none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(where, "must be a mapping, such as {levels: 16, rate: 0.2}", found=value)
    given = spelled_out(json.loads(canonical_or_refuse(value, where)))
    score, taken = given.pop("score", None), {key: given.pop(key, None) for key in TAKEN}
    train = given.pop("train", None)
    if isinstance(given.get("layers"), dict):
        raise UserError(f"{where}.layers", "must be a name", found=given["layers"])
    for key in given:
        if key not in options():
            raise UserError(f"{where}.{key}", "unknown key", found=key, allowed=options())
    _check_kind(given, where)
    ticket = check((OPTIONS,), given, where) | {"levels": given.get("levels", 1)}
    if score is not None and (scored := _score(score, f"{where}.score")) != {"name": "magnitude"}:
        ticket["score"] = scored
    if train is not None and not isinstance(train, dict):
        raise UserError(f"{where}.train", "must say what differs below, such as {epochs: 150}", found=train)
    if train:
        check((TRAIN,), train, f"{where}.train")
        ticket["train"] = train  # as it was said: a default may differ from what the cell trains with
    for key, reference in taken.items():
        if reference is None:
            continue
        if not isinstance(reference, dict) or not reference:
            raise UserError(f"{where}.{key}", "must say what differs, such as {ticket.kind: lt}", found=reference)
        ticket[key] = reference
    _check_path(ticket, where)
    _check_resets(ticket, where)
    return ticket if ticket["levels"] else {}


def options() -> list[str]:
    """All that a ladder may be told."""
    return [*defaults(OPTIONS), *TAKEN, "score", "train"]


def _score(value: Any, where: str) -> dict[str, Any]:
    score = method("scores", value, where)
    if not (defaults(resolve("scores", score["name"])) | score).get("exact", True):
        raise UserError(f"{where}.exact", "a level keeps an exact number of weights", found=False, allowed=[True])
    return score


def _check_kind(given: Mapping[str, Any], where: str) -> None:
    kind = given.get("kind", "lt")
    if kind not in ("lt", "reinit"):
        raise UserError(f"{where}.kind", "unknown kind", found=kind, allowed=("lt", "reinit", *KINDS))
    levels = given.get("levels", 1)
    if type(levels) is not int or not 0 <= levels <= MOST:
        raise UserError(f"{where}.levels", "must be a whole number", found=levels, allowed=f"0 to {MOST}")


def _check_path(ticket: dict[str, Any], where: str) -> None:
    """What the levels keep: numbers that can be kept, said in one way."""
    rate, density, densities = (ticket.get(key) for key in ("rate", "density", "densities"))
    if rate is not None and not 0 < rate < 1:
        raise UserError(f"{where}.rate", "must be above 0 and below 1", found=rate)
    if density is not None:
        layer_density(density, f"{where}.density")
    if densities:
        if rate is not None or density is not None:
            raise UserError(f"{where}.densities", "says what every level keeps; leave out rate and density")
        for value in densities:
            layer_density(value, f"{where}.densities")
        if any(b >= a for a, b in zip(densities, densities[1:], strict=False)):
            raise UserError(f"{where}.densities", "must fall from level to level", found=list(densities))
        if ticket["levels"] > len(densities):
            raise UserError(f"{where}.levels", f"there are {len(densities)} densities", found=ticket["levels"])
    layers = ticket.get("layers", "global")
    if layers not in ("global", "each"):
        resolve("densities", layers, f"{where}.layers")


def _check_resets(ticket: Mapping[str, Any], where: str) -> None:
    kind, rewind, reset = (
        ticket.get(key, usual) for key, usual in (("kind", "lt"), ("rewind", "init"), ("reset", "all"))
    )
    if rewind != "init":
        duration(rewind, 1, 1, f"{where}.rewind")
        if kind == "reinit":
            raise UserError(f"{where}.rewind", "kind reinit draws weights anew, so nothing goes back", found=rewind)
    if reset == "nothing" and (kind == "reinit" or rewind != "init"):
        raise UserError(f"{where}.reset", "leaves all weights as trained, so nothing is drawn anew or goes back")
