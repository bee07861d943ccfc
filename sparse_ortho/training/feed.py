"""The batches of an epoch, from any step of it on."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from sparse_ortho.training.resident import order
from sparse_ortho.training.state import Run


def feed(run: Run) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels of the steps that are left of this epoch."""
    train, clock = run.splits["train"], run.clock
    batches = order(run.streams, clock.epoch, len(train), run.device).split(run.options.batch_size)
    for rows in batches[clock.step : clock.steps_per_epoch]:
        yield train.take(rows)
