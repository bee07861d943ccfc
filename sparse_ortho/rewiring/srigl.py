"""SRigL, RigL with a constant fan-in (Lasby, Golubeva, Evci, Nica, Ioannou, ICLR 2024, arXiv 2305.02299).

    every Delta T steps, before T_end, in layer l with A active weights in n units, k = A / n of each,  r = f(t) A:
    salient   the active weights but the r smallest |w|, and the r free ones with the largest |dL/dw|
    ablate    units with fewer than gamma k salient weights leave with all their weights; k' = A / n' of those that stay
    drop      the r smallest |w| of the layer
    grow      in each unit, in the order of |dL/dw|, as many as bring it to k'

A unit is an output: a row of a linear layer, a filter. f(t), the moment and the momentum are RigL's (see rigl). A unit
that was ablated does not come back; its bias stays. Not from the paper: A is exact, so where n does not divide it the
first units have one weight more; layers start with the mask of the cell, and where that has another fan-in, units drop
their smallest weights or grow at random before the first step; as many units stay as A weights need places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sparse_ortho.rewiring.engine import Change
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.live import Rewiring
from sparse_ortho.rewiring.ranking import best
from sparse_ortho.rewiring.rule import Rule

Layers = Mapping[str, Layer]
RANGES = {"gamma": "[0, 1]"}


def constant_fan_in(keep: torch.Tensor, value: torch.Tensor, units: torch.Tensor, total: int) -> torch.Tensor:
    """`total` places in the rows that `units` marks, equally many in each: first `keep`, then others, by value."""
    order = value.argsort(dim=1, descending=True, stable=True)  # (units, inputs), as all here
    order = order.gather(1, keep.gather(1, order).int().argsort(dim=1, descending=True, stable=True))
    first = torch.arange(value.shape[1], device=value.device) < quotas(units, total)[:, None]
    return torch.zeros_like(keep).scatter_(1, order, first)


def quotas(units: torch.Tensor, total: int) -> torch.Tensor:
    """Equal shares of the marked units; the first ones have one more where they do not divide the total."""
    number = units.sum().clamp_min(1)
    share = torch.div(total, number, rounding_mode="floor")
    return torch.where(units, share + (units.cumsum(0) <= total - share * number), 0)


def spared(salient: torch.Tensor, units: torch.Tensor, total: int, gamma: float) -> torch.Tensor:
    """The units that stay: those with gamma of their fan-in salient, and as many of the others as are needed."""
    number = salient.sum(1)
    enough = number >= gamma * total / units.sum().clamp_min(1)
    needed = math.ceil(total / salient.shape[1])
    order = torch.where(units, number, -1).argsort(descending=True, stable=True)
    most = torch.zeros_like(units).index_fill_(0, order[:needed], True)
    return units & (enough | most)


def rewired(layer: Layer, drop: int, gamma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The mask of a layer after an update, and what has grown in it."""
    rows, free = layer.mask.flatten(1), ~layer.mask.flatten(1)
    size, slope = layer.magnitude.flatten(1), layer.steepness.flatten(1)
    units = rows.any(1)
    free &= units[:, None]
    grow = min(drop, layer.size - layer.active)
    stay = best({"": size}, {"": layer.active - drop}, {"": rows})[""]
    steep = best({"": torch.where(free, slope, -1.0)}, {"": grow}, {"": ~rows})[""] & free
    units = spared(stay | steep, units, layer.active, gamma)
    mask = constant_fan_in(stay, torch.where(stay, size, slope), units, layer.active)
    return mask.view(layer.mask.shape), (mask & ~stay).view(layer.mask.shape)


class Structured(Rewiring):
    rule: ConstantFanIn
    grows = True

    def __init__(self, *given: Any, **lengths: Any):
        super().__init__(*given, **lengths)
        for name, mask in self.masks.items():
            self.masks.update_({name: self._begun(name, mask)})
        self.masks.apply_()

    def _begun(self, name: str, mask: torch.Tensor) -> torch.Tensor:
        rows, size = mask.flatten(1), self.weights[name].detach().abs().flatten(1)
        drawn = torch.from_numpy(self.streams("rewiring", f"{name}/fan_in").random(rows.shape)).to(size)
        every = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        value = torch.where(rows, size, drawn)
        return constant_fan_in(rows, value, every, int(rows.count_nonzero())).view(mask.shape)

    def change(self, layers: Layers, step: int) -> Change:
        fraction = self.times.fraction(step)
        drop = {name: math.floor(round(fraction * layer.active, 6)) for name, layer in layers.items()}
        found = {name: rewired(layer, drop[name], self.rule.gamma) for name, layer in layers.items()}
        return Change(
            {name: mask for name, (mask, _) in found.items()}, {name: new for name, (_, new) in found.items()}
        )

    def facts(self) -> dict[str, Any]:
        return {"empty_units": sum(int((~mask.flatten(1).any(1)).sum()) for mask in self.masks.values())}


@dataclass(frozen=True)
class ConstantFanIn(Rule):
    gamma: float = 0.3

    live = Structured
    limits = RANGES


def srigl(
    *,
    every: str = "100it",
    start: str = "0it",
    stop: str = "0.75",
    fraction: float = 0.3,
    decay: Literal["constant", "cosine", "linear"] = "cosine",
    end: float = 0.0,
    gamma: float = 0.3,
    regrown_value: Literal["zero", "keep", "random"] = "zero",
    momentum_reset: bool | Literal["mean"] = True,
    masked_momentum: bool = True,
    moment: Literal["after_step", "before_step", "instead_of_step"] = "instead_of_step",
) -> Rule:
    return ConstantFanIn(
        "srigl",
        every,
        start,
        stop,
        None,
        fraction,
        decay,
        end,
        regrown_value=regrown_value,
        momentum_reset=momentum_reset,
        masked_momentum=masked_momentum,
        moment=moment,
        gamma=gamma,
    )
