"""What weight decay alone does to the s of a soft threshold, and the density that a threshold leaves.

    s_{t+1} = s_t - lr_t v_t,   v_t = momentum v_{t-1} + decay s_t
    s_T ~ s_0 exp(-decay sum_t lr_t / (1 - momentum))
    decay(s_0 -> s_T) = ln(s_0 / s_T) (1 - momentum) / sum_t lr_t
    density(g) of Gaussian weights of standard deviation sigma = erfc(g / (sigma sqrt(2)))

for as long as g'(s) is 0 (sigmoid and float32: s < -103), so that the loss cannot answer. Which is most of the way from
-200 to -10, and why a run whose decay is a little too small ends with no threshold at all: 100 epochs of CIFAR with
sum lr = 1000 end at s = -73.6 with decay 1e-4, -1.35 with 5e-4, -0.009 with 1e-3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from sparse_ortho.errors import UserError


def decayed(s_init: float, decay: float, rates: float, momentum: float) -> float:
    """s after steps whose learning rates sum to `rates`."""
    return s_init * math.exp(-decay * rates / (1 - momentum))


def decay_to(s_init: float, s_end: float, rates: float, momentum: float) -> float:
    """The weight decay that brings s from one negative value to another."""
    if not s_init < s_end < 0 or rates <= 0:
        raise UserError("s_end", f"cannot be reached by decay from {s_init:g}", found=s_end, allowed=f"({s_init:g}, 0)")
    return math.log(s_init / s_end) * (1 - momentum) / rates


def steps_to(s_init: float, level: float, decay: float, rates: Iterable[float], momentum: float) -> int | None:
    """After how many steps s has passed a level; None if it never does."""
    total = 0.0
    for step, rate in enumerate(rates, start=1):
        total += rate
        if decayed(s_init, decay, total, momentum) > level:
            return step
    return None


def gaussian_density(threshold: float, sigma: float) -> float:
    """The fraction of Gaussian weights above a threshold."""
    return math.erfc(threshold / (sigma * math.sqrt(2)))


def raw_of(threshold: float, function: str) -> float:
    """The s whose g(s) is this threshold."""
    return math.log(threshold) if function == "exp" else math.log(threshold / (1 - threshold))
