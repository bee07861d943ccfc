"""What a cell asks of its network or training that these cannot do, as far as the plan sees it without building any."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.fields import TRAIN
from sparse_ortho.plan.identity import Cell
from sparse_ortho.plan.options import defaults
from sparse_ortho.registry import resolve
from sparse_ortho.schedules import share


def refuse_misfits(cell: Cell, facts: Mapping[str, Any] | None, where: str) -> None:
    """`facts`: the shapes of the network, if the plan knows it. What only the network knows, its job refuses."""
    if "train" not in cell.nodes:
        return
    trained = cell.nodes["train"].spec
    trainings = {node.id: node.spec["train"] for node in cell.every() if node.stage == "train"}
    for node in cell.every():
        if (early := trainings.get(node.inputs.get("early", ""))) is not None:
            _refuse_late(node.spec["ticket"], defaults(TRAIN) | early, f"{where}.ticket")
    if facts is None:
        return
    shapes = [tuple(shape) for number, shape in facts["weights"] for _ in range(number)]
    name = trained["model"]["name"]
    for node in cell.every():
        if node.stage == "ticket" and node.spec["ticket"].get("tensors") == "conv" and not _convolutions(shapes):
            raise UserError(f"{where}.ticket.tensors", f"{name} has no convolution to prune", found="conv",
                            allowed=["all"])  # fmt: skip
    _refuse_parts(cell, shapes, f"{where}.rule")
    if (ghost := trained.get("tricks", {}).get("ghost")) is not None:
        kind = (defaults(resolve("tricks", "ghost")) | ghost)["kind"]
        square = any(shape[0] == shape[1] for shape in shapes)
        if kind == "conv1x1" and _convolutions(shapes) < 2:
            problem = f"{name} has no residual block of two or three convolutions"
            allowed = ["identity"] if square else "none"
            raise UserError(f"{where}.tricks.ghost.kind", problem, found=kind, allowed=allowed)
        if kind == "identity" and not square:
            raise UserError(f"{where}.tricks.ghost.kind", f"{name} has no layer as wide as its input", found=kind)


def _refuse_parts(cell: Cell, shapes: list[tuple[int, ...]], where: str) -> None:
    """A rule that moves whole kernels needs a mask of whole ones."""
    rule = cell.nodes["train"].spec.get("rule", {})
    mask = cell.nodes["mask"].spec["mask"] if "mask" in cell.nodes else None
    if rule.get("granularity") != "kernel" or not any(math.prod(shape[2:]) > 1 for shape in shapes):
        return
    structure = mask.get("structure", {}).get("name") if mask else "kernel"
    if structure != "kernel":
        problem = f"{rule['name']} moves whole kernels, and the mask keeps single weights; say mask.structure: kernel"
        raise UserError(f"{where}.granularity", problem, found="kernel", allowed=["weight"])


def _convolutions(shapes: list[tuple[int, ...]]) -> int:
    return sum(len(shape) > 2 for shape in shapes)


def _refuse_late(ticket: Mapping[str, Any], train: Mapping[str, Any], where: str) -> None:
    """A rewind point in epochs needs a training that gets there."""
    point = ticket.get("rewind", "init")
    if point.endswith("ep") and share(point.removesuffix("ep").strip(), 10**6) > train["epochs"] * 10**6:
        problem = f"is after the end of a training of {train['epochs']} epochs"
        raise UserError(f"{where}.rewind", problem, found=point)
