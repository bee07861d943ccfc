"""The levels of a lottery ticket as nodes: each is made from the level before, so its identity is the chain.

    ticket: {levels: 16, rate: 0.2}                    every level keeps 80 % of the weights that are left
    ticket: {levels: 15, rate: 0.2, density: 0.01}     and the last one exactly 1 % of all
    ticket: {levels: 5, density: 0.1}                  all five by one factor
    ticket: {levels: 2, densities: [0.5, 0.3, 0.1]}    the second of a list

A node says what its own level does and names the level before (`init`), the training that it prunes after (`train`) and
the ladders whose masks (`ticket`) and signs (`signs`) it takes. So a level more makes one node more; and the training
is that of the cell with one level less: the same node, the same place in the store. `train` in a ladder says how the
trainings below differ from that of the cell.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.grid import overlay
from sparse_ortho.plan.options import literal_of
from sparse_ortho.plan.ticket_words import RATE, TAKEN, density_at
from sparse_ortho.registry import resolve

if TYPE_CHECKING:
    from sparse_ortho.plan.identity import Cell, Node

OF_THE_LADDER = ("levels", "rate", "density", "densities")  # a level says what it keeps itself

Resolve = Callable[[Mapping[str, Any], str], "Cell"]


def climb(
    ticket: Mapping[str, Any],
    raw: Mapping[str, Any],
    start: Node,
    density: float,
    data: Node,
    fixed: Mapping[str, Any],
    words: list[str],
    where: str,
    below: Resolve,
    make: Callable[..., Node],
) -> tuple[Node, tuple[Node, ...]]:
    """The node of the last level, and every node besides that it is made from."""
    level = ticket["levels"]
    place = f"{where}.ticket"
    _refuse_above(ticket, level, density, place)
    told = {key: value for key, value in ticket.items() if key not in (*OF_THE_LADDER, *TAKEN, "train")}
    told |= _keeps(ticket, level, density)
    methods = [("models", start.spec["model"]), *_methods(told)]
    spec = {key: start.spec[key] for key in ("model", "shape", "classes")}
    inputs, besides = {"data": data.id}, dict[str, Any]()
    taken = {key: _reference(raw, ticket, key, place, below, (data, start)) for key in TAKEN if key in ticket}
    reference, signs = taken.get("masks_of"), taken.get("signs_of")
    trains = needs_training(ticket)
    if reference is not None and not trains and ticket.get("rewind", "init") == "init":
        first, train = start, None  # the levels in between would only hand on what the start says
    else:
        trained = overlay(raw, {"train": ticket["train"]}, place) if "train" in ticket else raw
        lower = below({**trained, "ticket": _lower(raw["ticket"], ticket, density)}, where)
        first, train = lower.nodes["init"], lower.nodes["train"]
        besides |= {node.id: node for node in (*lower.ladder, first)}
    early = level == 1 and ticket.get("rewind", "init") != "init"
    wanted = {"train": trains, "early": early}  # what was trained, and what a training of some steps has
    if train is not None and any(wanted.values()):
        inputs |= {role: train.id for role, needed in wanted.items() if needed}
        besides[train.id] = train
    for role, other in (("ticket", reference), ("signs", signs)):
        if other is not None:
            inputs[role] = other.nodes["init"].id
            apart = [node for stage, node in other.nodes.items() if stage in ("data", "mask", "init")]
            besides |= {node.id: node for node in (*other.ladder, *apart)}
    if reference is not None:
        told = {key: value for key, value in told.items() if key in ("kind", "rewind", "reset", "tensors", "exclude")}
    if ticket.get("kind") == "reinit":
        spec["init"] = start.spec["init"]
        methods.append(("inits", start.spec["init"]))
    parts = ticket.get("reset", "all") in ("amplitudes", "signs", "norm")
    carries = bool(train and ("rule" in train.spec or parts or signs))
    spec |= {"ticket": told, "level": level} | ({"carries": True} if carries else {}) | dict(fixed)
    spoken = [*words[:-1], rung(ticket), words[-1]]
    node = make("ticket", spec, inputs | {"init": first.id}, methods, spoken)
    if train is not None and train.id in besides:
        node = replace(node, methods=node.methods | train.methods)
    return node, tuple({start.id: start, **besides}.values())


def needs_training(ticket: Mapping[str, Any]) -> bool:
    """Whether a level looks at the network that was trained: its score does, or something stays as trained."""
    score = ticket.get("score", {"name": "magnitude"})["name"]
    looks = "masks_of" not in ticket and bool(literal_of(resolve("scores", score), "NEEDS", ()))
    return looks or ticket.get("reset", "all") != "all"


def rung(ticket: Mapping[str, Any]) -> str:
    """A short name for people: lt3, reinit3, lrr3, random3."""
    kind, score = ticket.get("kind", "lt"), ticket.get("score", {"name": "magnitude"})["name"]
    if ticket.get("reset") == "nothing":
        kind = "lrr"
    elif kind == "lt" and "masks_of" not in ticket and score != "magnitude":
        kind = score
    return f"{kind}{ticket['levels']}"


def rungs(nodes: Iterable[Node]) -> dict[int, list[Node]]:
    """The nodes of ladders by how many of them stand below, at most: those of one rung need nothing from each other."""
    found: dict[int, list[Node]] = {}
    known = {node.id: node for node in nodes}
    for identity, depth in depths(known).items():
        found.setdefault(depth, []).append(known[identity])
    return dict(sorted(found.items()))


def depths(nodes: Mapping[str, Node]) -> dict[str, int]:
    """The rung of each node."""

    @functools.cache
    def depth(identity: str) -> int:
        node = nodes[identity]
        return 1 + max(depth(i) if i in nodes else 0 for i in node.inputs.values())

    return {identity: depth(identity) for identity in sorted(nodes, key=lambda i: nodes[i].spec["level"])}


def _lower(raw: Mapping[str, Any], ticket: Mapping[str, Any], start: float) -> dict[str, Any]:
    """The ladder one level lower: what each of its levels keeps is as in the whole one."""
    count = ticket["levels"] - 1
    lower = {key: value for key, value in raw.items() if key not in ("density", "densities")} | {"levels": count}
    if _listed(ticket):
        lower["densities"] = [density_at(ticket, level, start) for level in range(1, count + 1)]
    return lower


def _keeps(ticket: Mapping[str, Any], level: int, start: float) -> dict[str, float]:
    """What one level keeps: a rate of what is left, or a density of all."""
    if _listed(ticket) or (ticket.get("density") is not None and level == ticket["levels"]):
        return {"density": density_at(ticket, level, start)}
    return {"rate": ticket.get("rate") or RATE}


def _listed(ticket: Mapping[str, Any]) -> bool:
    """Whether every level has a density of its own, by a list or by one factor down to that of the last."""
    return bool(ticket.get("densities")) or (ticket.get("density") is not None and ticket.get("rate") is None)


def _reference(
    raw: Mapping[str, Any],
    ticket: Mapping[str, Any],
    key: str,
    where: str,
    below: Resolve,
    own: tuple[Node, Node],
) -> Cell:
    """The cell whose ladder gives the masks or the signs, on the same data set and network."""
    place, what = f"{where}.{key}", key.removesuffix("_of")
    mine = {option: value for option, value in raw["ticket"].items() if option not in TAKEN}
    over = ticket[key]
    if "ticket.levels" in over:
        raise UserError(f"{place}.ticket.levels", f"{what} are taken over level by level", found=over["ticket.levels"])
    cell = below(overlay({**raw, "ticket": mine}, over, place), place)
    if cell.nodes["init"].stage != "ticket":
        raise UserError(place, "names a cell without a ladder", found=dict(over))
    data, start = own
    if cell.nodes["data"].id != data.id or cell.nodes["init"].spec["model"] != start.spec["model"]:
        raise UserError(place, f"{what} are taken over on one data set and one network", found=dict(over))
    return cell


def _methods(told: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found = [("scores", told.get("score", {"name": "magnitude"}))]
    return found + ([("densities", {"name": told["layers"]})] if told.get("layers", "each") != "each" else [])


def _refuse_above(ticket: Mapping[str, Any], level: int, start: float, where: str) -> None:
    """A level that would have to bring weights back, where all weights of the network are pruned."""
    if ticket.get("tensors", "all") != "all" or ticket.get("exclude") or "masks_of" in ticket:
        return
    here, before = (density_at(ticket, at, start) for at in (level, level - 1))
    if here > before:
        told = f"is above what level {level - 1} leaves; nothing comes back"
        raise UserError(f"{where}.density", told, found=here, allowed=f"(0, {before:g}]")
