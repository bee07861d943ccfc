"""The training loop. It names no method: whatever a run adds comes in as a Part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.streams import Streams
from sparse_ortho.training.averaging import WeightAverage
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.clock import Clock
from sparse_ortho.training.evaluate import evaluate
from sparse_ortho.training.feed import feed
from sparse_ortho.training.optimizers import optimizer
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part, StaticMasks
from sparse_ortho.training.precision import Precision
from sparse_ortho.training.progress import News, failure, finished_epoch
from sparse_ortho.training.ranks import Alone
from sparse_ortho.training.records import Outcome, curve_row, kept, row_of, selected, told
from sparse_ortho.training.resident import Split
from sparse_ortho.training.speed import faster
from sparse_ortho.training.state import Run
from sparse_ortho.training.step import train_step
from sparse_ortho.training.topology import Topology


def train_seed(
    model: torch.nn.Module,
    splits: Mapping[str, Split],
    masks: Mapping[str, torch.Tensor] | None,
    options: TrainOptions,
    streams: Streams,
    device: torch.device,
    *,
    parts: Sequence[Part] = (),
    checkpoint: Checkpointer | None = None,
    news: News | None = None,
    ranks: Alone | None = None,
) -> Outcome:
    """Train `model` in place on the parts that `resident` made. A run that diverges ends early and says why."""
    run = begun(model, splits, masks, options, streams, device, parts=parts, checkpoint=checkpoint, ranks=ranks)
    if news:
        news.begin(run)
    while unfinished(run):
        train_epoch(run, checkpoint, news)
        end_epoch(run, news)
        if checkpoint:
            checkpoint.after_step(run)
    return finished(run)


def begun(
    model: torch.nn.Module,
    splits: Mapping[str, Split],
    masks: Mapping[str, torch.Tensor] | None,
    options: TrainOptions,
    streams: Streams,
    device: torch.device,
    *,
    parts: Sequence[Part] = (),
    checkpoint: Checkpointer | None = None,
    ranks: Alone | None = None,
) -> Run:
    """A run before its first step, or where its checkpoint left it."""
    ranks = ranks or Alone()
    if options.ranks != ranks.size:
        raise UserError("train.ranks", "is for train_together, which starts the other processes", found=options.ranks)
    if masks is not None and not any(part.owns_masks for part in parts):
        parts = (StaticMasks(masks), *parts)
    if options.ema:
        parts = (*parts, WeightAverage(options.ema))
    parts = (*parts, Topology())
    model.to(device).train()
    clock = Clock(options, len(splits["train"]))
    numbers = Precision(options.precision, device)
    forward = faster(model, options)
    moving = (optimizer(options, model), clock)
    run = Run(model, *moving, splits, masks, parts, options, streams, device, numbers, forward, ranks)

    torch.manual_seed(int(streams("dropout").integers(2**63)))
    for part in parts:
        part.begin(run)
    if not ranks.begin(run, bool(checkpoint and checkpoint.load(run))):
        # Streamed pictures are decoded to be trained on; once more for the first point of a curve costs an epoch.
        shown = {part: split for part, split in splits.items() if part != "train" or not split.streamed}
        run.curves.append(curve_row(0, 0, clock.lr, evaluate(model, shown, ranks)) | row_of(parts))
    return run


def unfinished(run: Run) -> bool:
    return run.clock.epoch < run.options.epochs and not failure(run)


def train_epoch(run: Run, checkpoint: Checkpointer | None, news: News | None) -> None:
    """From wherever this epoch stands to its end."""
    for x, y in feed(run):
        train_step(run, x, y)
        if news:
            news.after_step(run)
        if checkpoint:
            checkpoint.after_step(run)
    stepped(run)


def stepped(run: Run) -> None:
    """After the last step of an epoch."""
    for part in run.parts:
        part.end_epoch(run)
    run.ranks.end_epoch(run)


def end_epoch(run: Run, news: News | None) -> None:
    run.curves.append(finished_epoch(run))
    if news:
        news.after_epoch(run)


def finished(run: Run) -> Outcome:
    for part in run.parts:
        part.end(run)
    reason = failure(run)
    status = {"status": "diverged" if reason else "ok", "reason": reason}
    return Outcome(status | selected(run.curves) | kept(run.model, run.masks) | told(run.parts), run.curves)
