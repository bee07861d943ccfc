"""One protocol for all methods of an exhibit of kind `methods`: data, network, training and seeds are the same.

Only so is a difference between two of its rows one of the methods. From the network comes what a training would cost;
multiply-adds by layer are known of networks in which each weight is used once an image: those of linear layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError
from sparse_ortho.plan.config import Exhibit, Grid
from sparse_ortho.plan.fields import TRAIN
from sparse_ortho.plan.identity import Node
from sparse_ortho.plan.options import defaults
from sparse_ortho.plan.shapes import facts_of, layers, size_of
from sparse_ortho.registry import resolve

KIND = "methods"
SHARED = ("data", "model", "train")


def check_protocol(
    exhibit: Exhibit, grid: Grid, raws: Sequence[Mapping[str, Any]], seeds: Sequence[Sequence[int]], where: str
) -> None:
    """The first key in which two cells have another protocol ends the plan."""
    if exhibit.kind != KIND:
        return
    if grid.tune:
        raise UserError(f"{where}.tune", f"kind {KIND} has one protocol for all", found=sorted(grid.tune))
    if exhibit.columns:
        problem = f"kind {KIND} has a row a method, and columns of its own"
        raise UserError(f"{where}: columns", problem, found=exhibit.columns, allowed="[]")
    for key in SHARED:
        said = list(dict.fromkeys(canonical(raw.get(key)) for raw in raws))
        if len(said) > 1:
            raise UserError(f"{where}: {key}", f"kind {KIND} has one protocol for all", found=said[1], allowed=said[0])
    if len(kinds := list(dict.fromkeys(map(tuple, seeds)))) > 1:
        told = {"found": list(kinds[1]), "allowed": str(list(kinds[0]))}
        raise UserError(f"{where}: seeds", f"kind {KIND} has the same seeds for all", **told)


def of_job(exhibit: Exhibit, nodes: Sequence[Node]) -> dict[str, Any]:
    """{"protocol": what the cost of a training is counted from}, or nothing for another kind."""
    if exhibit.kind != KIND:
        return {}
    spec = nodes[0].spec
    facts, train = facts_of(spec), defaults(TRAIN) | dict(spec["train"])
    once = facts is not None and facts["flops"] == 2 * size_of(facts)  # a multiplication and an addition a weight
    sizes = [math.prod(shape) for shape in layers(facts)] if facts and once else None
    return {"protocol": {"multiply_adds": sizes, "batch": train["batch_size"]}}


def axes_of(exhibit: Exhibit, axes: Mapping[str, Any], node: Node) -> Mapping[str, Any]:
    """A method is among those of the density that it ends with, whatever it starts from."""
    if exhibit.kind != KIND:
        return axes
    rule = node.spec.get("rule")
    final = (defaults(resolve("rules", rule["name"])) | rule).get("final_density") if rule else None
    density = axes["ticket.density"] if final is None else final
    return {**axes, "density": float(f"{density:.6g}")}  # 1 - 0.95 is not 0.05 in binary
