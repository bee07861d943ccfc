"""Sparse momentum (Dettmers, Zettlemoyer, "Sparse Networks from Scratch", arXiv 1907.04840).

    at the end of every epoch but the last, with p(t) = 0.005 + (p_0 - 0.005)(1 + cos(pi t / T)) / 2:
    s_l = mean |m| of the active weights of layer l,   v_l = s_l / sum of all s
    drop the ceil(p A_l) smallest |w| of each layer;  R of them in all
    grow v_l R weights in layer l: the inactive ones with the largest |m|

m is the momentum of SGD, of Adam m / (sqrt(v) + eps). It is dense: masked weights receive gradients. A layer with less
than 20 % free places that gains (v_l > 1 / L) loses no larger share than that of its free places. A share does not
depend on the size of its layer. Not as released: exact counts by water-filling (there 99 % of a layer's room, rounding
up, and a controller for what then lacks); layers get their own back when all momentum is 0 (there nothing grows);
`redistribution: none` means that too (there: by size of the layer, here `size`); grown weights start at 0 also when
they were dropped in the same update (`regrown_value: keep`).
With `dense_exclusion` layers that were nearly dense at more than ten updates become dense for good (exclusion.py).

`drop`, `growth` and `redistribution` are registered names or functions of the user's own (`module:function`).
"""

from __future__ import annotations

from typing import Literal

from sparse_ortho.rewiring.criteria import named_by
from sparse_ortho.rewiring.exclusion import Exclusion
from sparse_ortho.rewiring.rule import Rule

NEEDS = ("momentum",)  # of the optimizer


def sparse_momentum(
    *,
    every: str = "1ep",
    start: str = "0it",
    stop: str = "1.0",
    fraction: float = 0.5,
    decay: Literal["constant", "cosine", "linear"] = "cosine",
    end: float = 0.005,
    drop: str = "magnitude",
    growth: str = "momentum",
    redistribution: str = "momentum",
    regrown_value: Literal["zero", "keep", "random"] = "zero",
    momentum_reset: bool | Literal["mean"] = False,
    moment: Literal["after_step", "before_step", "instead_of_step"] = "after_step",
    drop_scope: Literal["layer", "global"] = "layer",
    normalize: Literal["none", "layer", "output", "input"] = "none",
    norm_type: Literal["sum", "max"] = "sum",
    gamma: float = 1.0,
    temperature: float = 200.0,
    restore_norm: Literal["none", "layer", "output", "input"] = "none",
    overlap: bool = False,
    once: bool = False,
    leave: tuple[str, ...] = (),
    dense_exclusion: bool = False,
) -> Rule:
    criteria = named_by(
        "sparse_momentum",
        drop,
        growth,
        None if redistribution == "none" else redistribution,
        scope=drop_scope,
        normalize=normalize,
        norm_type=norm_type,
        gamma=gamma,
        temperature=temperature,
    )
    return (Exclusion if dense_exclusion else Rule)(
        "sparse_momentum",
        every,
        start,
        stop,
        criteria,
        fraction,
        decay,
        end,
        regrown_value=regrown_value,
        momentum_reset=momentum_reset,
        moment=moment,
        restore_norm=restore_norm,
        overlap=overlap,
        once=once,
        leave=tuple(leave),
    )
