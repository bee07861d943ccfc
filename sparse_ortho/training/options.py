"""What a training may be told. The defaults are part of every identity: add fields, never change a default."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sparse_ortho.errors import UserError
from sparse_ortho.schedules import duration

CHOICES = {
    "optimizer": ("sgd", "adam", "adamw"),
    "decay": ("all", "weights", "not_norm", "not_bn_named"),
    "schedule": ("constant", "step", "multistep", "periodic", "cosine", "linear"),
    "smoothing": ("uniform", "others"),
    "precision": ("float32", "bf16", "fp16"),
    "crop_fill": ("reflect", "zero"),
}


@dataclass(frozen=True)
class TrainOptions:
    epochs: int = 100
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True  # without momentum it has nothing to act on, and is ignored
    weight_decay: float = 1e-4
    schedule: Literal["constant", "step", "multistep", "periodic", "cosine", "linear"] = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)  # of schedule "step": fractions of the epochs
    gamma: float = 0.1  # of the schedules that drop: the factor at each drop
    threads: int = 1
    ranks: int = 1  # processes that share the rows of each batch (ranks.py); a sum over ranks rounds differently
    # optimizer
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam and AdamW
    eps: float = 1e-8  # of Adam and AdamW
    # Which parameters weight_decay is for: all, those of linear and convolution weights, all but normalisation layers,
    # or all but those whose name contains "bn" (a released rule that decays the normalisation of shortcuts).
    decay: Literal["all", "weights", "not_norm", "not_bn_named"] = "all"
    clip_norm: float = 0.0  # 0: the gradient is not clipped
    # schedule; lengths of time are "10ep", "500it" or a fraction of the whole
    drops: tuple[str, ...] = ()  # of schedule "multistep"
    period: str = "30ep"  # of schedule "periodic"
    final_lr: float = 0.0  # of schedules "cosine" and "linear"
    warmup: str = ""  # lr (k + 1) / (w + 1) at epoch (or step) k of w; cosine and linear begin after it
    # loss
    label_smoothing: float = 0.0
    smoothing: Literal["uniform", "others"] = "uniform"  # over all classes (torch), or over the other ones
    # numbers
    precision: Literal["float32", "bf16", "fp16"] = "float32"  # of the forward and backward pass; weights are float32
    channels_last: bool = False
    compile: bool = False
    ema: float = 0.0  # above 0: a running mean of the weights with this decay is evaluated, and is the result
    # batches
    drop_last: bool = False  # leave out an epoch's last batch if it is small
    crop: int = 0  # pixels of padding around an image before a random crop of its own size
    crop_fill: Literal["reflect", "zero"] = "reflect"
    flip: bool = False
    cutout: int = 0  # side of a square of mean grey
    rotation: float = 0.0  # degrees, at most, to both sides
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    random_resized: bool = False  # of streamed images: a random part of random shape, at the size of the data set

    def __post_init__(self) -> None:
        for name in ("milestones", "betas", "drops"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives a list
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"train.{name}", f"unknown {name.replace('_', ' ')}", found=getattr(self, name), allowed=allowed
                )
        check("epochs", self.epochs, self.epochs >= 0, "must be at least 0")
        check("batch_size", self.batch_size, self.batch_size >= 1, "must be at least 1")
        check("threads", self.threads, self.threads >= 1, "must be at least 1")
        check("ranks", self.ranks, self.ranks >= 1, "must be at least 1")
        for name in ("lr", "final_lr", "weight_decay", "clip_norm", "rotation", "brightness", "contrast", "saturation"):
            value = getattr(self, name)
            check(name, value, 0 <= value < math.inf, "must be a finite number, at least 0")
        for name in ("momentum", "label_smoothing", "ema"):
            check(name, getattr(self, name), 0 <= getattr(self, name) < 1, "must be at least 0 and below 1")
        check("betas", self.betas, all(0 <= beta < 1 for beta in self.betas), "must be at least 0 and below 1")
        check("eps", self.eps, 0 < self.eps < math.inf, "must be finite and above 0")
        check("gamma", self.gamma, 0 < self.gamma <= 1, "must be above 0 and at most 1")
        check("hue", self.hue, 0 <= self.hue <= 0.5, "must be from 0 to 0.5")
        inside = all(0 <= milestone <= 1 for milestone in self.milestones)
        check("milestones", self.milestones, inside, "must be fractions of the epochs, from 0 to 1")
        for name in ("crop", "cutout"):
            check(name, getattr(self, name), getattr(self, name) >= 0, "must be at least 0")
        for name, text in [*(("drops", drop) for drop in self.drops), ("period", self.period), ("warmup", self.warmup)]:
            if text:
                duration(text, 1, 1, f"train.{name}")
        if self.schedule == "multistep" and not self.drops:
            raise UserError("train.drops", "schedule multistep needs at least one", allowed="such as [80ep, 120ep]")
        if self.schedule == "periodic" and not self.period:
            raise UserError("train.period", "schedule periodic needs one", allowed="such as 30ep or 25000it")


def check(name: str, value: object, holds: bool, problem: str) -> None:
    if not holds:
        raise UserError(f"train.{name}", problem, found=value)
