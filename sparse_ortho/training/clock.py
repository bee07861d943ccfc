"""Where a training stands, and the learning rate there.

step        gamma ^ (milestones reached), between epochs as published: at epoch floor(milestone x epochs), from 0
multistep   gamma ^ (drops reached),        periodic   gamma ^ floor(step / period)
cosine, linear   from lr to final_lr with every step after the warm-up; final_lr belongs to the step after the last
warm-up     lr (k + 1) / (w + 1) at epoch k of w ("5ep") or at step k of w ("500it"), whatever the schedule
"""

from __future__ import annotations

from sparse_ortho import schedules
from sparse_ortho.errors import UserError
from sparse_ortho.training.options import TrainOptions


class Clock:
    """`epoch` finished epochs and `step` finished steps of the next one."""

    def __init__(self, options: TrainOptions, images: int):
        self.options = options
        whole, rest = divmod(images, options.batch_size)
        self.steps_per_epoch = whole + (rest > 0 and not options.drop_last)
        if images and not self.steps_per_epoch:
            raise UserError("train.batch_size", f"leaves no whole batch of {images} images", found=options.batch_size)
        self.total_steps = options.epochs * self.steps_per_epoch
        # A milestone that falls on epoch 0 is dropped: else a run of one epoch would train at lr / 100.
        self.milestones = [m for m in (schedules.share(f, options.epochs) for f in options.milestones) if m]
        self.drops = [self._steps("drops", text) for text in options.drops]
        self.period = max(1, self._steps("period", options.period)) if options.period else 1
        self.warmup = self._steps("warmup", options.warmup) if options.warmup else 0
        self.epoch = 0
        self.step = 0

    def _steps(self, name: str, text: str) -> int:
        return schedules.duration(text, self.steps_per_epoch, self.total_steps, f"train.{name}")

    @property
    def steps(self) -> int:
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def lr(self) -> float:
        """Of the step to come."""
        return self._scheduled() * self._warming()

    def _scheduled(self) -> float:
        options = self.options
        if options.schedule == "step":
            return options.lr * schedules.step(self.epoch, self.milestones, options.gamma)
        if options.schedule == "multistep":
            return options.lr * schedules.step(self.steps, self.drops, options.gamma)
        if options.schedule == "periodic":
            return options.lr * options.gamma ** (self.steps // self.period)
        t = max(0, self.steps - self.warmup) / max(1, self.total_steps - self.warmup)
        factor = schedules.SCHEDULES[options.schedule](t)
        # The first form is exact at the ends, and the one that identities were made with.
        return options.lr * factor if not options.final_lr else _between(options.lr, options.final_lr, factor)

    def _warming(self) -> float:
        if self.steps >= self.warmup:
            return 1.0
        if self.options.warmup.strip().endswith("ep") and self.warmup % self.steps_per_epoch == 0:
            return (self.epoch + 1) / (self.warmup // self.steps_per_epoch + 1)
        return (self.steps + 1) / (self.warmup + 1)

    def end_step(self) -> None:
        self.step += 1

    def end_epoch(self) -> None:
        self.epoch, self.step = self.epoch + 1, 0


def _between(lr: float, final: float, factor: float) -> float:
    return final + (lr - final) * factor
