"""Plain dynamic sparse training, as released by Gadhikar, Mukherjee, Burkholz (ICML 2023) and others before.

    every k steps to the end of the training:  ceil(p A_l) weights of layer l leave, those with the smallest |w|;
    as many grow in it, at random;  p(t) = 0.005 + (p_0 - 0.005)(1 + cos(pi t / T)) / 2

With `growth: gradient` it is their "DST": momentum of masked weights is dropped after every step there, so grown ones
start without (`masked_momentum`). Not as released: exact counts; grown weights start at 0 also when they were dropped
in the same update (`regrown_value: keep`).

It is also where the criteria of drop and growth meet (Nowak et al., ICML 2024): `drop` and `growth` are registered
names, or functions of the user's own. `drop_scope: global` lets layers compete in the drop; each gets back what it
lost. `flow` moves weights to units without any, at the start, at updates or at both (flow.py).
"""

from __future__ import annotations

from typing import Literal

from sparse_ortho.rewiring.criteria import named_by
from sparse_ortho.rewiring.rule import Rule


def dst(
    *,
    every: str = "100it",
    start: str = "0it",
    stop: str = "1.0",
    fraction: float = 0.5,
    decay: Literal["constant", "cosine", "linear"] = "cosine",
    end: float = 0.005,
    drop: str = "magnitude",
    growth: str = "random",
    may_return: bool = True,
    regrown_value: Literal["zero", "keep", "random"] = "zero",
    momentum_reset: bool | Literal["mean"] = False,
    masked_momentum: bool = False,
    moment: Literal["after_step", "before_step", "instead_of_step"] = "after_step",
    drop_scope: Literal["layer", "global"] = "layer",
    normalize: Literal["none", "layer", "output", "input"] = "none",
    norm_type: Literal["sum", "max"] = "sum",
    gamma: float = 1.0,
    temperature: float = 200.0,
    restore_norm: Literal["none", "layer", "output", "input"] = "none",
    overlap: bool = False,
    once: bool = False,
    flow: Literal["none", "start", "updates", "always"] = "none",
    flow_growth: Literal["random", "gradient"] = "random",
    leave: tuple[str, ...] = (),
) -> Rule:
    criteria = named_by(
        "dst",
        drop,
        growth,
        may_return=may_return,
        scope=drop_scope,
        normalize=normalize,
        norm_type=norm_type,
        gamma=gamma,
        temperature=temperature,
    )
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
        restore_norm=restore_norm,
        overlap=overlap,
        once=once,
        flow=flow,
        flow_growth=flow_growth,
        leave=tuple(leave),
    )
