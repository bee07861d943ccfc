"""The end of an epoch: its row of the curves, and whether the run can go on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch

from sparse_ortho.training.evaluate import Score, evaluate, mean_score
from sparse_ortho.training.records import curve_row, row_of
from sparse_ortho.training.state import Run


def finished_epoch(run: Run) -> dict[str, Any]:
    """The epoch's row; the clock and the sums move on to the next epoch."""
    with contextlib.ExitStack() as stack:
        for part in run.parts:
            stack.enter_context(part.evaluating(run))
        others = evaluate(run.model, {part: run.splits[part] for part in ("validation", "test")}, run.ranks)
    scores = {"train": trained_score(run), **others}
    lr = run.optimizer.param_groups[0]["lr"]
    run.clock.end_epoch()
    run.losses, run.correct = [], []
    return curve_row(run.clock.epoch, run.clock.steps, lr, scores) | row_of(run.parts)


def trained_score(run: Run) -> Score:
    """Mean loss and accuracy of the epoch's batches, each seen before its own step."""
    images = len(run.splits["train"])
    sizes = [min(run.options.batch_size, images - i * run.options.batch_size) for i in range(len(run.losses))]
    means = torch.stack(run.losses).tolist()
    correct = torch.stack(run.correct).tolist()
    return mean_score([mean * size for mean, size in zip(means, sizes, strict=True)], correct, sum(sizes))


def failure(run: Run) -> str | None:
    """Why the run cannot go on, or None: a part of the data that was looked at has a loss which is not finite."""
    last = run.curves[-1]
    broken = [part for part, split in run.splits.items() if len(split) and last.get(f"{part}_loss", 0.0) is None]
    return f"{' and '.join(broken)} loss not finite at epoch {last['epoch']}" if broken else None


class News:
    """A line about a training whenever it has been quiet for a while: where it is, how fast, how long it will take."""

    def __init__(self, say: Callable[[str], None], quiet: float = 5.0):
        self.say, self.quiet = say, quiet
        self.spoken = self.started = 0.0
        self.first = 0

    def begin(self, run: Run) -> None:
        """The clock starts after what comes once: the first evaluation, the start of the compiler."""
        self.spoken = self.started = time.monotonic()
        self.first = run.clock.steps

    def after_step(self, run: Run) -> None:
        self._tell(lambda: f"epoch {run.clock.epoch + 1}/{run.options.epochs}, step {run.clock.step}", run)

    def after_epoch(self, run: Run) -> None:
        self._tell(lambda: reached(run), run)

    def _tell(self, what: Callable[[], str], run: Run) -> None:
        now = time.monotonic()
        if now - self.spoken >= self.quiet:
            self.spoken = now
            self.say(what() + pace(run, run.clock.steps - self.first, now - self.started))


def pace(run: Run, steps: int, seconds: float) -> str:
    """Images a second since this process took over, evaluations included, and the time left at that rate."""
    if not steps or not seconds:
        return ""
    left = seconds / steps * (run.clock.total_steps - run.clock.steps)
    return f", {steps * run.options.batch_size / seconds:,.0f} images/s, {span(left)} left"


def span(seconds: float) -> str:
    """Two figures are enough to decide whether to wait."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def reached(run: Run) -> str:
    last = run.curves[-1]
    known = [key for key in ("train_loss", "test_accuracy") if last[key] is not None]
    shown = ", ".join(f"{key.replace('_', ' ')} {last[key]:.4g}" for key in known)
    return f"epoch {last['epoch']}/{run.options.epochs}: {shown}"
