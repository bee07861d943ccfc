"""What a ladder of tickets may be told. The defaults are part of identities: add fields, never change a default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TicketOptions:
    levels: int = 1  # rounds of training and pruning before the network that the cell trains
    # How far a level prunes. A level keeps floor(x + 1/2) weights, x = (1 - rate) times those of the level before.
    rate: float | None = None  # 0.2, unless `density` without a rate says that all levels prune by one factor
    density: float | None = None  # of the last level, exactly
    densities: tuple[float, ...] = ()  # of the levels one by one, instead of the two above
    # lt: the weights go back to where they were; reinit: they are drawn anew by the cell's initialisation, same mask.
    kind: Literal["lt", "reinit"] = "lt"
    rewind: str = "init"  # where weights go back to: init, or a length of the first training, "2ep" or "500it"
    # What goes back, everything else stays as trained: all; |w| or sign(w) of the maskable weights; normalisation
    # layers; or nothing, which is learning-rate rewinding. A schedule starts anew whatever stays.
    reset: Literal["all", "amplitudes", "signs", "norm", "nothing"] = "all"
    # Who competes: all weights (global), those of a layer at one rate for all (each), or a density scheme's counts.
    layers: str = "global"
    tensors: Literal["all", "conv"] = "all"  # which weights are pruned: all linear and convolution ones, or the latter
    exclude: tuple[str, ...] = ()  # names of weights that are not pruned, as patterns; also "first" and "last"
