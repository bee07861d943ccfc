"""GraNet (Liu, Chen, Chen, Chen, Xie, Wang, Pechenizkiy, "Sparse Training via Boosting Pruning Plasticity", 2021).

    every k steps:  thin out to the density of the cubic path of gradual pruning (see gmp), over all layers;
    then, in each layer, drop the ceil(p A_l) smallest |w| and grow as many with the largest |dL/dw|
    p(t) = 0.005 + (p_0 - 0.005)(1 + cos(pi t / T)) / 2

Regrowth goes on after `density_stop`, to `stop`. It starts from a dense network or from any mask. As released, momentum
of masked weights is dropped after every step. Not as released: integer budgets that are met exactly; grown weights
start at 0 also when they were dropped in the same update (`regrown_value: keep`). Not from the paper: other criteria
of drop and growth than these (thinning is always by |w|), and flow preservation.
"""

from __future__ import annotations

from typing import Literal

from sparse_ortho.rewiring.criteria import named_by
from sparse_ortho.rewiring.rule import Rule

THINS = True  # so it may start from a dense network


def granet(
    *,
    final_density: float = 0.1,
    every: str = "1000it",
    start: str = "0it",
    density_stop: str = "0.5",
    stop: str = "1.0",
    fraction: float = 0.5,
    decay: Literal["constant", "cosine", "linear"] = "cosine",
    end: float = 0.005,
    scope: Literal["global", "even"] = "global",
    regrown_value: Literal["zero", "keep", "random"] = "zero",
    momentum_reset: bool | Literal["mean"] = False,
    masked_momentum: bool = True,
    moment: Literal["after_step", "before_step", "instead_of_step"] = "after_step",
    drop: str = "magnitude",
    growth: str = "gradient",
    drop_scope: Literal["layer", "global"] = "layer",
    normalize: Literal["none", "layer", "output", "input"] = "none",
    norm_type: Literal["sum", "max"] = "sum",
    gamma: float = 1.0,
    temperature: float = 200.0,
    restore_norm: Literal["none", "layer", "output", "input"] = "none",
    overlap: bool = False,
    flow: Literal["none", "start", "updates", "always"] = "none",
    flow_growth: Literal["random", "gradient"] = "random",
    within: Literal["anywhere", "start"] = "anywhere",
) -> Rule:
    criteria = named_by(
        "granet",
        drop,
        growth,
        scope=drop_scope,
        normalize=normalize,
        norm_type=norm_type,
        gamma=gamma,
        temperature=temperature,
    )
    return Rule(
        "granet",
        every,
        start,
        stop,
        criteria,
        fraction,
        decay,
        end,
        final_density,
        density_stop,
        scope,
        regrown_value,
        momentum_reset,
        masked_momentum,
        moment,
        restore_norm,
        overlap,
        flow=flow,
        flow_growth=flow_growth,
        within=within,
    )
