"""Pruning at the end of a dense training, once, by magnitude (Han, Pool, Tran, Dally, NeurIPS 2015; no iterations).

    after step `stop` the largest |w| stay, budget(final_density, N) of them; what is left of the training tunes them

With `stop: 1.0` nothing is left, so a network is shown as pruning leaves it; 0.8 leaves the last fifth. The schedule of
the learning rate is that of the whole training: the learning rate of the tuning is whatever the schedule has then.
"""

from __future__ import annotations

from typing import Literal

from sparse_ortho.rewiring.rule import Rule

THINS = True  # so it may start from a dense network


def end_pruning(
    *,
    final_density: float = 0.1,
    stop: str = "1.0",
    scope: Literal["global", "even"] = "global",
    masked_momentum: bool = False,
) -> Rule:
    return Rule(
        "end_pruning",
        every=stop,  # the only multiple of it that is not past it
        final_density=final_density,
        density_stop=stop,
        scope=scope,
        masked_momentum=masked_momentum,
    )
