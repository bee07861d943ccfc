"""Where a training stands, and the learning rate there.

Schedule "step" moves between epochs, as published: at epoch floor(milestone x epochs), counted from 0. "cosine" and
"linear" move with every step and would reach 0 at the step after the last.
"""

from __future__ import annotations

from sparse_ortho import schedules
from sparse_ortho.training.options import TrainOptions


class Clock:
    """`epoch` finished epochs and `step` finished steps of the next one."""

    def __init__(self, options: TrainOptions, images: int):
        self.options = options
        self.steps_per_epoch = -(-images // options.batch_size)  # the last batch may be small, and is kept
        self.total_steps = options.epochs * self.steps_per_epoch
        # A milestone that falls on epoch 0 is dropped: else a run of one epoch would train at lr / 100.
        self.milestones = [m for m in (schedules.share(f, options.epochs) for f in options.milestones) if m]
        self.epoch = 0
        self.step = 0

    @property
    def steps(self) -> int:
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def lr(self) -> float:
        """Of the step to come."""
        options = self.options
        if options.schedule == "step":
            return options.lr * schedules.step(self.epoch, self.milestones, options.gamma)
        return options.lr * schedules.SCHEDULES[options.schedule](self.steps / max(1, self.total_steps))

    def end_step(self) -> None:
        self.step += 1

    def end_epoch(self) -> None:
        self.epoch, self.step = self.epoch + 1, 0
