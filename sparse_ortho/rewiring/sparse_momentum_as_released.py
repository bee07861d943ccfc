"""Sparse momentum as its program does it (Dettmers, Zettlemoyer, arXiv 1907.04840): see released_controller.py.

The number of weights is met on average only. `redistribution: none` shares by the size of a layer. Weights that were
dropped and grow in one update keep their value; momentum is never reset. `drop: set` is that of the newest version.
"""

from __future__ import annotations

from typing import Any, Literal

from sparse_ortho.rewiring import shares
from sparse_ortho.rewiring.released_controller import Released, ReleasedRule
from sparse_ortho.rewiring.rule import Rule, chosen

NEEDS = ("momentum",)  # of the optimizer
LOOSE = True  # misses the number of weights that it should keep
SHARES = {
    "magnitude": shares.magnitude,
    "momentum": shares.momentum,
    "none": shares.size,
    "nonzeros": shares.nonzeros,
    "variance": shares.variance,
}


def sparse_momentum_as_released(
    *,
    every: str = "1ep",
    start: str = "0it",
    stop: str = "1.0",
    fraction: float = 0.5,
    decay: Literal["constant", "cosine", "linear"] = "cosine",
    end: float = 0.005,
    drop: Literal["global_magnitude", "magnitude", "magnitude_variance", "set", "threshold"] = "magnitude",
    growth: Literal["global_momentum", "momentum", "momentum_neuron", "random"] = "momentum",
    redistribution: Literal["magnitude", "momentum", "none", "nonzeros", "variance"] = "momentum",
) -> Rule:
    share = chosen(SHARES, redistribution, "rule.sparse_momentum@as_released.redistribution")
    parts: Any = Released(drop, growth, share)
    name = "sparse_momentum@as_released"
    return ReleasedRule(name, every, start, stop, parts, fraction, decay, end, regrown_value="keep")
