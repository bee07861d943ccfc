"""The training loop. It names no method: whatever a run adds comes in as a Part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.clock import Clock
from sparse_ortho.training.evaluate import evaluate
from sparse_ortho.training.feed import feed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part, StaticMasks
from sparse_ortho.training.progress import failure, finished_epoch, line
from sparse_ortho.training.records import Outcome, curve_row, kept, selected
from sparse_ortho.training.resident import Split
from sparse_ortho.training.state import Run
from sparse_ortho.training.step import optimizer, train_step


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
    report: Callable[[str], None] | None = None,
) -> Outcome:
    """Train `model` in place on the parts that `resident` made. A run that diverges ends early and says why."""
    if masks is not None and not any(part.owns_masks for part in parts):
        parts = (StaticMasks(masks), *parts)
    model.to(device).train()
    clock = Clock(options, len(splits["train"]))
    run = Run(model, optimizer(options, model), clock, splits, masks, parts, options, streams, device)

    torch.manual_seed(int(streams("dropout").integers(2**63)))
    for part in parts:
        part.begin(run)
    if not (checkpoint and checkpoint.load(run)):
        run.curves.append(curve_row(0, 0, clock.lr, evaluate(model, splits)))

    while clock.epoch < options.epochs and not failure(run):
        train_epoch(run, checkpoint)
        run.curves.append(finished_epoch(run))
        if report:
            report(line(run))
        if checkpoint and checkpoint.due():
            checkpoint.save(run)

    reason = failure(run)
    status = {"status": "diverged" if reason else "ok", "reason": reason}
    return Outcome(status | selected(run.curves) | kept(model, run.masks), run.curves)


def train_epoch(run: Run, checkpoint: Checkpointer | None) -> None:
    """From wherever this epoch stands to its end."""
    for x, y in feed(run):
        train_step(run, x, y)
        if checkpoint and checkpoint.due():
            checkpoint.save(run)
    for part in run.parts:
        part.end_epoch(run)
