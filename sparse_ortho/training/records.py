"""What a training reports: a record (one row a seed) and curves (one row an epoch), as columns.py describes them.

Epoch 0, before the first step, is in the curves but selects nothing unless nothing was trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.masks import maskable

if TYPE_CHECKING:
    from sparse_ortho.training.parts import Part

Scores = Mapping[str, tuple[float | None, float | None]]  # (loss, accuracy) of train, validation and test


@dataclass(frozen=True)
class Outcome:
    record: dict[str, Any]
    curves: list[dict[str, Any]]


def curve_row(epoch: int, step: int, lr: float, scores: Scores) -> dict[str, Any]:
    row: dict[str, Any] = {"epoch": epoch, "step": step, "lr": lr}
    for part, (loss, accuracy) in scores.items():
        row |= {f"{part}_loss": finite(loss), f"{part}_accuracy": accuracy}
    return row


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def selected(curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metrics of a record, from its curves."""
    last = curves[-1]
    rows = [row for row in curves if row["epoch"] > 0] or curves
    tested = [row["test_accuracy"] for row in rows if row["test_accuracy"] is not None]
    validated = [row for row in rows if row["validation_accuracy"] is not None]
    best = max(validated, key=lambda row: row["validation_accuracy"], default=None)  # max keeps the first of equals
    return {
        "epochs": last["epoch"],
        "steps": last["step"],
        "test_accuracy_last": last["test_accuracy"],
        "test_accuracy_best_validation": best and best["test_accuracy"],
        "test_accuracy_max": max(tested, default=None),
        "validation_accuracy_last": last["validation_accuracy"],
        "validation_accuracy_best": best and best["validation_accuracy"],
        "best_epoch": best and best["epoch"],
        "train_accuracy_last": last.get("train_accuracy"),  # streamed pictures are not looked at before they train
        "train_loss_last": last.get("train_loss"),
        "test_loss_last": last["test_loss"],
    }


def kept(model: torch.nn.Module, masks: Mapping[str, torch.Tensor] | None) -> dict[str, Any]:
    """Over the masked weights; without masks over all weights that could have one."""
    if masks is None:
        weights = nonzeros = sum(weight.numel() for weight in maskable(model).values())
    else:
        weights = sum(mask.numel() for mask in masks.values())
        nonzeros = sum(int(mask.count_nonzero()) for mask in masks.values())
    return {"density": nonzeros / weights if weights else 1.0, "nonzeros": nonzeros, "weights": weights}


def row_of(parts: Iterable[Part]) -> dict[str, Any]:
    """What parts have to say in the row of an epoch."""
    return {name: value for part in parts for name, value in part.row().items()}


def told(parts: Iterable[Part]) -> dict[str, Any]:
    """What parts say of themselves, numbers of one name added up."""
    found: dict[str, Any] = {}
    for name, value in (fact for part in parts for fact in part.facts().items()):
        found[name] = found.get(name, 0) + value
    return found
