"""What a training may be told. The defaults are part of every identity: add fields, never change a default."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sparse_ortho.errors import UserError

SCHEDULES = ("constant", "step", "cosine", "linear")


@dataclass(frozen=True)
class TrainOptions:
    epochs: int = 100
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True  # without momentum it has nothing to act on, and is ignored
    weight_decay: float = 1e-4  # on every parameter, biases too
    schedule: Literal["constant", "step", "cosine", "linear"] = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)  # of schedule "step": fractions of the epochs
    gamma: float = 0.1  # of schedule "step": the factor at each milestone
    threads: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))  # JSON gives a list
        check("epochs", self.epochs, self.epochs >= 0, "must be at least 0")
        check("batch_size", self.batch_size, self.batch_size >= 1, "must be at least 1")
        check("lr", self.lr, 0 <= self.lr < math.inf, "must be a finite number, at least 0")
        check("momentum", self.momentum, 0 <= self.momentum < 1, "must be at least 0 and below 1")
        check("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "must be finite and at least 0")
        if self.schedule not in SCHEDULES:
            raise UserError("train.schedule", "unknown schedule", found=self.schedule, allowed=SCHEDULES)
        inside = all(0 <= milestone <= 1 for milestone in self.milestones)
        check("milestones", self.milestones, inside, "must be fractions of the epochs, from 0 to 1")
        check("gamma", self.gamma, 0 < self.gamma <= 1, "must be above 0 and at most 1")
        check("threads", self.threads, self.threads >= 1, "must be at least 1")


def check(name: str, value: object, holds: bool, problem: str) -> None:
    if not holds:
        raise UserError(f"train.{name}", problem, found=value)
