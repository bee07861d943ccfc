"""Plain dynamic sparse training, as released by Gadhikar, Mukherjee, Burkholz (ICML 2023) and others before.

    every k steps to the end of the training:  ceil(p A_l) weights of layer l leave, those with the smallest |w|;
    as many grow in it, at random;  p(t) = 0.005 + (p_0 - 0.005)(1 + cos(pi t / T)) / 2

With `growth: gradient` it is their "DST": momentum of masked weights is dropped after every step there, so grown ones
start without (`masked_momentum`). Not as released: exact counts; grown weights start at 0 also when they were dropped
in the same update (`regrown_value: keep`).
"""

from __future__ import annotations

from typing import Literal

from sparse_ortho.rewiring import drops
from sparse_ortho.rewiring import growth as growths
from sparse_ortho.rewiring.engine import Criteria
from sparse_ortho.rewiring.rule import Rule, chosen

DROPS = {"magnitude": drops.magnitude, "set": drops.signed}
GROWTHS = {"gradient": growths.gradient, "momentum": growths.momentum, "random": growths.random}


def dst(
    *,
    every: str = "100it",
    start: str = "0it",
    stop: str = "1.0",
    fraction: float = 0.5,
    decay: Literal["constant", "cosine", "linear"] = "cosine",
    end: float = 0.005,
    drop: Literal["magnitude", "set"] = "magnitude",
    growth: Literal["gradient", "momentum", "random"] = "random",
    may_return: bool = True,
    regrown_value: Literal["zero", "keep"] = "zero",
    momentum_reset: bool = False,
    masked_momentum: bool = False,
    moment: Literal["after_step", "before_step", "instead_of_step"] = "after_step",
) -> Rule:
    chosen_drop, chosen_growth = chosen(DROPS, drop, "rule.dst.drop"), chosen(GROWTHS, growth, "rule.dst.growth")
    criteria = Criteria(chosen_drop, chosen_growth, round_up=True, may_return=may_return)
    return Rule(
        "dst",
        every,
        start,
        stop,
        criteria,
        fraction,
        decay,
        end,
        regrown_value=regrown_value,
        momentum_reset=momentum_reset,
        masked_momentum=masked_momentum,
        moment=moment,
    )
