"""Factors over time, t in [0, 1] -> factor, and lengths of time written as text. Imports no torch: the plan uses it.

All start at 1. `end` is the factor at t = 1.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from sparse_ortho.errors import UserError

FORMS = "10ep (epochs), 500it (steps), or a fraction of the whole from 0 to 1"


def constant(t: float) -> float:
    return 1.0


def linear(t: float, end: float = 0.0) -> float:
    return 1.0 - (1.0 - end) * t


def cosine(t: float, end: float = 0.0) -> float:
    return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * t))


def cubic(t: float, end: float = 0.0) -> float:
    return end + (1.0 - end) * (1.0 - t) ** 3


def exponential(t: float, end: float = 0.01) -> float:
    return end**t


def step(t: float, milestones: Sequence[float], gamma: float = 0.1) -> float:
    """gamma to the number of milestones reached. `t` may be in any unit (epochs, say) that the milestones share."""
    return gamma ** bisect.bisect_right(sorted(milestones), t)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "cubic": cubic,
    "exponential": exponential,
    "linear": linear,
}


def share(fraction: float | str, total: int) -> int:
    """floor(fraction x total) of the decimal as written: in binary, 0.29 x 100 is 28.999... and would give 28."""
    return int(Decimal(str(fraction)) * total)


def duration(text: str | float, steps_per_epoch: int, total_steps: int, where: str = "duration") -> int:
    """The number of steps of "10ep", "500it" or 0.75; parts of a step are dropped."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?(?:e-\d+)?|\.\d+)\s*(ep|it)?", str(text).strip())
    if isinstance(text, bool) or match is None:
        raise UserError(where, "is no length of time", found=text, allowed=FORMS)
    number, unit = match.groups()
    if unit == "ep":
        return share(number, steps_per_epoch)
    if unit == "it":
        if Decimal(number) % 1:
            raise UserError(where, "steps come in whole numbers", found=text, allowed=FORMS)
        return int(Decimal(number))
    if Decimal(number) > 1:
        raise UserError(where, "a number without ep or it is a fraction of the whole", found=text, allowed=FORMS)
    return share(number, total_steps)
