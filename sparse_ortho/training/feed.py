"""The batches of an epoch, from any step of it on: their order, and what becomes of their images.

Only training is fed from here; evaluations read their parts as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.training.augment import Augment
from sparse_ortho.training.resident import order
from sparse_ortho.training.state import Run
from sparse_ortho.training.streamed import random_views


def feed(run: Run) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels of the steps that are left of this epoch."""
    train, clock, options = run.splits["train"], run.clock, run.options
    n, here = len(train), train.rows_on
    augment = Augment(options, train.shape, train.white)
    if options.random_resized and isinstance(train.images, torch.Tensor):
        raise UserError("train.random_resized", "is for streamed data sets; these images have one size already")
    batches = order(run.streams, clock.epoch, n, here).split(options.batch_size)
    batches = [run.ranks.share(rows) for rows in batches[clock.step : clock.steps_per_epoch]]
    if not augment and not options.random_resized:
        yield from train.batches(batches)
        return
    views = random_views(run.streams, clock.epoch, n) if options.random_resized else None
    numbers = {kind: drawn.to(here) for kind, drawn in augment.numbers(run.streams, clock.epoch, n).items()}
    for rows, (images, y) in zip(batches, train.raw(batches, views), strict=True):
        own = {kind: drawn.index_select(0, rows).to(images.device) for kind, drawn in numbers.items()}
        yield augment(images, own, train.normalised), y
