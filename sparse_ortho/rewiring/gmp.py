"""Gradual magnitude pruning (Zhu, Gupta, "To prune, or not to prune", arXiv 1710.01878): a cubic path of densities.

    d(c) = d_f + (d_0 - d_f) (1 - (c - c_0) / (c_f - c_0))^3        at update c, from `start` to `stop`

d_0 is the density of the masks that it starts with, 1 for a dense network. What has left does not come back. The paper
brings every layer to the same density (`scope: even`); here and in the programs of GraNet and of Gadhikar et al. (ICML
2023) all weights compete (`global`). Not as released: integer budgets that are met exactly, and a last update at c_f,
so that the final density is reached (there the last one is at c_f - 1).

Not from the paper: other paths (`path`: linear; geometric, where each of N updates takes 1 - (d_f / d_0)^(1/N) of what
is left, as in the program of DSR); other criteria than |w| (`drop`); `growth`, with which at every update to `stop` a
`fraction` of each layer leaves after the thinning and as many grow (that is GraNet, which has more options); flow
preservation.
"""

from __future__ import annotations

from typing import Literal

from sparse_ortho.rewiring.criteria import named_by
from sparse_ortho.rewiring.rule import Rule

THINS = True  # so it may start from a dense network


def gmp(
    *,
    final_density: float = 0.1,
    every: str = "100it",
    start: str = "0it",
    stop: str = "0.5",
    scope: Literal["global", "even"] = "global",
    path: Literal["cubic", "linear", "geometric"] = "cubic",
    masked_momentum: bool = False,
    moment: Literal["after_step", "before_step", "instead_of_step"] = "after_step",
    drop: str = "magnitude",
    growth: str = "none",
    fraction: float = 0.5,
    decay: Literal["constant", "cosine", "linear"] = "cosine",
    end: float = 0.005,
    normalize: Literal["none", "layer", "output", "input"] = "none",
    norm_type: Literal["sum", "max"] = "sum",
    gamma: float = 1.0,
    temperature: float = 200.0,
    flow: Literal["none", "start", "updates", "always"] = "none",
    flow_growth: Literal["random", "gradient"] = "random",
) -> Rule:
    criteria = named_by(
        "gmp",
        drop,
        None if growth == "none" else growth,
        normalize=normalize,
        norm_type=norm_type,
        gamma=gamma,
        temperature=temperature,
    )
    return Rule(
        "gmp",
        every,
        start,
        stop,
        criteria,
        fraction,
        decay,
        end,
        final_density,
        stop,
        scope,
        masked_momentum=masked_momentum,
        moment=moment,
        flow=flow,
        flow_growth=flow_growth,
        path=path,
    )
