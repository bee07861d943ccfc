"""ITOP, in-time over-parameterization (Liu, Yin, Mocanu, Pechenizkiy, ICML 2021, arXiv 2102.02887).

    every k steps to the end of the training:  ceil(p A_l) weights of layer l leave, those with the smallest |w|;
    as many grow in it:  at random (SET-ITOP),  or where |dL/dw| is largest (RigL-ITOP);   p as in `dst`
    R_s = (weights that were active at some time) / N        the in-time over-parameterization rate

Long intervals, so that what has grown can become large before it is judged, and many updates, so that R_s comes near 1:
the paper has k = 1500 for SET-ITOP and 4000 for RigL-ITOP at batch size 128. A record says how many weights have been
explored. As released, momentum of masked weights is dropped after every step. Not as released: exact counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sparse_ortho.rewiring import drops
from sparse_ortho.rewiring import growth as growths
from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.engine import Criteria
from sparse_ortho.rewiring.live import Rewiring
from sparse_ortho.rewiring.rule import Rule, chosen

GROWTHS = {"gradient": growths.gradient, "random": growths.random}


class Exploring(Rewiring):
    def __init__(self, *given: Any, **lengths: Any):
        super().__init__(*given, **lengths)
        self.explored = {name: mask.clone() for name, mask in self.masks.items()}

    @torch.no_grad()
    def rewire(self, step: int) -> None:
        super().rewire(step)
        for name, mask in self.masks.items():
            self.explored[name] |= mask

    def facts(self) -> dict[str, Any]:
        return {"explored": sum(counts(self.explored).values())}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"explored": self.explored}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        for name, mask in self.explored.items():
            mask.copy_(state["explored"][name])


@dataclass(frozen=True)
class Exploration(Rule):
    live = Exploring


def itop(
    *,
    every: str = "1500it",
    start: str = "0it",
    stop: str = "1.0",
    fraction: float = 0.5,
    decay: Literal["constant", "cosine", "linear"] = "cosine",
    end: float = 0.005,
    growth: Literal["gradient", "random"] = "random",
    regrown_value: Literal["zero", "keep", "random"] = "zero",
    momentum_reset: bool | Literal["mean"] = False,
    masked_momentum: bool = True,
) -> Rule:
    criteria = Criteria(drops.magnitude, chosen(GROWTHS, growth, "rule.itop.growth"), round_up=True)
    return Exploration(
        "itop",
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
    )
