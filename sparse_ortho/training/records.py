"""What a training reports: a record (one row a seed) and curves (one row an epoch). Accuracies are in percent.

`test_accuracy_last` is the result of a run. `test_accuracy_best_validation` belongs to the first epoch with the best
validation accuracy. `test_accuracy_max` is the best test accuracy over epochs: it selects on the test part and is only
to be set beside published numbers that were made so. Epoch 0, before the first step, is in the curves but selects
nothing unless nothing was trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sparse_ortho.masks import maskable

Scores = Mapping[str, tuple[float | None, float | None]]  # (loss, accuracy) of train, validation and test

RECORD_COLUMNS = {
    "cell": "string",
    "seed": "int64",
    "status": "string",
    "reason": "string",
    "epochs": "int64",
    "steps": "int64",
    "test_accuracy_last": "double",
    "test_accuracy_best_validation": "double",
    "test_accuracy_max": "double",
    "validation_accuracy_last": "double",
    "validation_accuracy_best": "double",
    "best_epoch": "int64",
    "train_accuracy_last": "double",
    "train_loss_last": "double",
    "test_loss_last": "double",
    "density": "double",
    "nonzeros": "int64",
    "weights": "int64",
}
CURVE_COLUMNS = {
    "epoch": "int64",
    "step": "int64",
    "lr": "double",  # of the epoch's last step; at epoch 0 of the first step to come
    "train_loss": "double",  # mean over the epoch's images while it trains; at epoch 0 an evaluation
    "train_accuracy": "double",
    "validation_loss": "double",
    "validation_accuracy": "double",
    "test_loss": "double",
    "test_accuracy": "double",
}


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
        "train_accuracy_last": last["train_accuracy"],
        "train_loss_last": last["train_loss"],
        "test_loss_last": last["test_loss"],
    }


def sparsity(model: torch.nn.Module, masks: Mapping[str, torch.Tensor] | None) -> dict[str, Any]:
    """Over the masked weights; without masks over all weights that could have one."""
    if masks is None:
        weights = nonzeros = sum(weight.numel() for weight in maskable(model).values())
    else:
        weights = sum(mask.numel() for mask in masks.values())
        nonzeros = sum(int(mask.count_nonzero()) for mask in masks.values())
    return {"density": nonzeros / weights if weights else 1.0, "nonzeros": nonzeros, "weights": weights}
