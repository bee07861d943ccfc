"""The end of an epoch: its row of the curves, and whether the run can go on."""

from __future__ import annotations

from typing import Any

import torch

from sparse_ortho.training.evaluate import Score, evaluate, mean_score
from sparse_ortho.training.records import curve_row
from sparse_ortho.training.state import Run


def finished_epoch(run: Run) -> dict[str, Any]:
    """The epoch's row; the clock and the sums move on to the next epoch."""
    others = evaluate(run.model, {part: run.splits[part] for part in ("validation", "test")})
    scores = {"train": trained_score(run), **others}
    lr = run.optimizer.param_groups[0]["lr"]
    run.clock.end_epoch()
    run.losses, run.correct = [], []
    return curve_row(run.clock.epoch, run.clock.steps, lr, scores)


def trained_score(run: Run) -> Score:
    """Mean loss and accuracy of the epoch's batches, each seen before its own step."""
    images = len(run.splits["train"])
    sizes = [min(run.options.batch_size, images - i * run.options.batch_size) for i in range(len(run.losses))]
    means = torch.stack(run.losses).tolist()
    correct = torch.stack(run.correct).tolist()
    return mean_score([mean * size for mean, size in zip(means, sizes, strict=True)], correct, images)


def failure(run: Run) -> str | None:
    """Why the run cannot go on, or None: a part of the data that exists has a loss which is not finite."""
    last = run.curves[-1]
    broken = [part for part, split in run.splits.items() if len(split) and last[f"{part}_loss"] is None]
    return f"{' and '.join(broken)} loss not finite at epoch {last['epoch']}" if broken else None


def line(run: Run) -> str:
    last = run.curves[-1]
    known = [key for key in ("train_loss", "test_accuracy") if last[key] is not None]
    shown = ", ".join(f"{key.replace('_', ' ')} {last[key]:.4g}" for key in known)
    return f"epoch {last['epoch']}/{run.options.epochs}: {shown}"
