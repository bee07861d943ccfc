"""SET as released: no program drops what SET (Mocanu et al., 2018) says; released_drops.signed has the formulas.

    version            drops                                                    each layer gets
    v0.1               smallest positive, most negative                         up to its number at the start
    v1.0               smallest |w|, most negative                              in proportion to its size
    master             all but the most negative r/2                            in proportion to its size
    random_pruning     smallest positive, all but the most negative r/2         what it lost

The first three are versions of the program of sparse momentum (arXiv 1907.04840); by size means with its controller
and capacity. The last is that beside "Why Random Pruning Is All We Need" (ICLR 2022), which Nowak et al. (ICML 2024)
took over. All grow by Bernoulli variables, so the number of weights is met on average only.
"""

from __future__ import annotations

from typing import Any, Literal

from sparse_ortho.rewiring import shares
from sparse_ortho.rewiring.released_controller import Released, ReleasedRule
from sparse_ortho.rewiring.rule import Rule

LOOSE = True  # misses the number of weights that it should keep


def set_as_released(
    *,
    version: Literal["v0.1", "v1.0", "master", "random_pruning"] = "v0.1",
    every: str = "1ep",
    start: str = "0it",
    stop: str = "1.0",
    fraction: float = 0.5,
    decay: Literal["constant", "cosine", "linear"] = "cosine",
    end: float = 0.005,
) -> Rule:
    share = shares.size if version in ("v1.0", "master") else None
    parts: Any = Released("set", "random", share, version, restores=version == "v0.1")
    return ReleasedRule("set@as_released", every, start, stop, parts, fraction, decay, end, regrown_value="keep")
