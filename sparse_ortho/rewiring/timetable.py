"""A rule in steps of one training: when it acts, how much it moves, how many weights it keeps.

    step t acts if  t is a multiple of `every`,  start <= t  and  t < stop        t = 1, 2, ... counts the steps taken
    fraction(t) = end + (fraction - end) * decay(t / stop)        of the active weights of a layer leave, as many grow
    K(t) = K_f + floor((K_0 - K_f) (1 - u)^3 + 1/2)    active weights, if the density falls; u = (c - c_0) / (c_f - c_0)
    K(t) = K_f + floor((K_0 - K_f) (1 - u) + 1/2)        path linear
    K(t) = floor(K_0 (K_f / K_0)^u + 1/2)                path geometric: each update takes the same share

c, c_0 and c_f are t, start and density_stop counted in updates, and K_f = budget(final_density, N) is reached at c_f
(cubic: Zhu, Gupta, arXiv 1710.01878). Without a final density the K_0 weights of the start are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.schedules import SCHEDULES, duration

if TYPE_CHECKING:
    from sparse_ortho.rewiring.rule import Rule


@dataclass(frozen=True)
class Timetable:
    """A rule in steps of one training."""

    rule: Rule
    every: int
    start: int
    stop: int
    density_stop: int

    @classmethod
    def of(cls, rule: Rule, steps_per_epoch: int | None, total_steps: int | None) -> Timetable:
        """Without the steps of an epoch or of the training, lengths that are told in these are refused."""

        def steps(option: str) -> int:
            text, where = getattr(rule, option), rule.where(option)
            if str(text).strip().endswith("ep") and steps_per_epoch is None:
                raise UserError(where, "is in epochs; say how many steps one has, steps_per_epoch=...", found=text)
            if not str(text).strip().endswith(("ep", "it")) and total_steps is None:
                raise UserError(where, "is a fraction of the training; say how many it has, steps=...", found=text)
            return duration(text, steps_per_epoch or 0, total_steps or 0, where)

        if not rule.every:
            return cls(rule, 0, 0, 0, 0)
        every = steps("every")
        if every < 1:
            raise UserError(rule.where("every"), "must be at least one step", found=rule.every)
        thins = rule.final_density is not None
        moves = rule.moves
        found = cls(rule, every, steps("start"), steps("stop") if moves else 0, steps("density_stop") if thins else 0)
        found.refuse(total_steps)
        return found

    def refuse(self, total: int | None) -> None:
        """A rule that would never act in this training is a mistake, not a result."""
        last = max(self.stop - 1, self.density_stop)
        first = self.first
        if total != 0 and (first > last or (total is not None and first > total)):
            length = "" if total is None else f" of a training of {total} steps"
            raise UserError(self.rule.where("every"), f"no update falls before the end{length}", found=self.rule.every)
        if self.rule.final_density is not None and total != 0:
            if self.density_stop // self.every <= self.start // self.every:
                raise UserError(
                    self.rule.where("density_stop"),
                    "no update falls between start and here",
                    found=self.rule.density_stop,
                )
            if total is not None and self.density_stop > total:
                problem = f"comes after the last of {total} steps"
                raise UserError(self.rule.where("density_stop"), problem, found=self.rule.density_stop)

    @property
    def first(self) -> int:
        """The step of the first update."""
        return max(1, math.ceil(self.start / self.every)) * self.every

    def due(self, step: int) -> bool:
        if self.rule.once and step > self.first:
            return False
        on_time = bool(self.every) and step % self.every == 0 and step >= max(1, self.start)
        return on_time and (step < self.stop or step <= self.density_stop)

    def fraction(self, step: int) -> float:
        rule = self.rule
        if step >= self.stop:
            return 0.0
        end = min(rule.end, rule.fraction)  # a fraction below its end would rise
        return end + (rule.fraction - end) * SCHEDULES[rule.decay](step / self.stop)

    def total(self, step: int, first: int, size: int) -> int:
        """K(t)."""
        if self.rule.final_density is None:
            return first
        last = budget(self.rule.final_density, size)
        whole = self.density_stop // self.every - self.start // self.every
        t = min(1.0, (step // self.every - self.start // self.every) / whole)
        if self.rule.path == "geometric":
            return math.floor(first * (last / first) ** t + 0.5)
        return last + math.floor((first - last) * SCHEDULES[self.rule.path](t) + 0.5)
