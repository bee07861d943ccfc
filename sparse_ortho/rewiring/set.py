"""SET, sparse evolutionary training (Mocanu, Mocanu, Stone, Nguyen, Gibescu, Liotta, Nature Communications 2018).

    at the end of every epoch but the last:  of the active weights of a layer a fraction zeta leaves, half of them the
    smallest positive ones, half the largest negative ones; as many grow at random places of the layer, from 0

Not from the paper: exact counts, a schedule of zeta, and a start and a stop.
"""

from __future__ import annotations

from typing import Literal

from sparse_ortho.rewiring import drops, growth
from sparse_ortho.rewiring.engine import Criteria
from sparse_ortho.rewiring.rule import Rule


def evolution(
    *,
    every: str = "1ep",
    start: str = "0it",
    stop: str = "1.0",
    fraction: float = 0.3,
    decay: Literal["constant", "cosine", "linear"] = "constant",
    end: float = 0.0,
    may_return: bool = True,
    regrown_value: Literal["zero", "keep", "random"] = "zero",
    momentum_reset: bool | Literal["mean"] = False,
    masked_momentum: bool = False,
    moment: Literal["after_step", "before_step", "instead_of_step"] = "after_step",
    leave: tuple[str, ...] = (),
) -> Rule:
    criteria = Criteria(drops.signed, growth.random, may_return=may_return)
    return Rule(
        "set",
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
        leave=tuple(leave),
    )
