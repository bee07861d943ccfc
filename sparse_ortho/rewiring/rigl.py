"""RigL (Evci, Gale, Menick, Castro, Elsen, "Rigging the Lottery", ICML 2020, arXiv 1911.11134).

    every Delta T steps, before T_end:  k = f(t) A_l,   f(t) = alpha / 2 (1 + cos(pi t / T_end)),   of layer l
    drop the k smallest |w|;  grow the k largest |dL/dw| of what is inactive then, from 0

The update takes the place of an optimizer step, as in the paper's algorithm; a weight that was dropped may grow at
once. In the released program masked weights receive no gradient, so momentum is kept of active weights only, and grown
ones start without (`masked_momentum`, `momentum_reset`). It keeps the value of a weight that is dropped and grown in
one update: `regrown_value: keep`; by default it starts from 0 like every other.
"""

from __future__ import annotations

from typing import Literal

from sparse_ortho.rewiring import drops, growth
from sparse_ortho.rewiring.engine import Criteria
from sparse_ortho.rewiring.rule import Rule


def rigl(
    *,
    every: str = "100it",
    start: str = "0it",
    stop: str = "0.75",
    fraction: float = 0.3,
    decay: Literal["constant", "cosine", "linear"] = "cosine",
    end: float = 0.0,
    may_return: bool = True,
    regrown_value: Literal["zero", "keep", "random"] = "zero",
    momentum_reset: bool | Literal["mean"] = True,
    masked_momentum: bool = True,
    moment: Literal["after_step", "before_step", "instead_of_step"] = "instead_of_step",
    leave: tuple[str, ...] = (),
) -> Rule:
    criteria = Criteria(drops.magnitude, growth.gradient, may_return=may_return)
    return Rule(
        "rigl",
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
