"""An update of the released program of sparse momentum, with its controller (TimDettmers/sparse_learning, v1.0).

    v_l = s_l / sum of s;  p_l = min(p, free share) where the free share is under 0.2 and v_l > 1 / L, else p
    R = what has left;  g_l = ceil(v_l (R + a)),  at most 0.99 c_l with c_l = z_l + ceil(p_l A_l)
    what is cut off is spread evenly over all L layers, full ones too, until nothing is, 1,000 times at most
    d = K - active weights now;  a <- 0.25 a + 0.75 d + mean of all d so far         K the number at the start

So the number of weights is K only on average (a shipped run sat 2 % above it), and no layer is filled beyond 99 %. With
`global_magnitude` g_l is multiplied by R / (p_l K), with `threshold` by R / sum of p_l A_l, and rounded down.
Not as released: where no layer has any importance nothing grows there too, but an empty layer is one without importance
(there ceil(NaN) ends the program); K is the number of weights of the masks, which here are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.drops import Layers, Memory
from sparse_ortho.rewiring.engine import NEARLY_DENSE, Change
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.live import Rewiring
from sparse_ortho.rewiring.released_drops import DROPS, TOLERANCE
from sparse_ortho.rewiring.released_growths import GROWTHS
from sparse_ortho.rewiring.rule import Rule
from sparse_ortho.rewiring.shares import Redistribute

FULL, ROUNDS = 0.99, 1000


@dataclass(frozen=True)
class Released:
    """What a variant is made of, by name."""

    drop: str
    growth: str
    redistribute: Redistribute | None  # None: each layer gets what it lost, without capacity or controller
    version: str = "master"  # of the drop by sign
    restores: bool = False  # without redistribution: up to the number at the first update

    @property
    def grow(self) -> str:
        return self.growth

    def text(self) -> str:
        return repr(
            (self.drop, self.growth, self.redistribute and self.redistribute.__qualname__, self.version, self.restores)
        )


def update(layers: Layers, parts: Released, fraction: float, baseline: int, memory: Memory) -> Change:
    share = normalised(parts.redistribute(layers)) if parts.redistribute else None
    rates = {name: rate(layer, fraction, share[name] if share else 0.0, len(layers)) for name, layer in layers.items()}
    left = DROPS[parts.drop](layers, rates, memory, parts.version, baseline)
    remain = counts(left)
    lost = {name: layer.active - remain[name] for name, layer in layers.items()}
    R, a = sum(lost.values()), memory.get("adjusted", 0.0)
    if share:
        capacity = {n: layer.size - layer.active + math.ceil(rates[n] * layer.active) for n, layer in layers.items()}
        g = capped({name: math.ceil(share[name] * (R + a)) for name in layers}, capacity)
    elif parts.restores:
        first = memory.setdefault("first", {name: layer.active for name, layer in layers.items()})
        g = {name: float(first[name] - remain[name]) for name in layers}
    else:
        g = {name: float(number) for name, number in lost.items()}
    expected = sum(rates[name] * layer.active for name, layer in layers.items())
    if parts.drop == "global_magnitude":
        g = {name: math.floor(g[name] * R / (baseline * rates[name])) if rates[name] else 0 for name in g}
    elif parts.drop == "threshold":
        g = {name: math.floor(g[name] * R / expected) if expected else 0 for name in g}
        pace = 2.0 if (1 - TOLERANCE) * expected > R else 0.5 if (1 + TOLERANCE) * expected < R else 1.0
        memory["tau"] = memory.get("tau", 0.001) * pace
    after = {name: layer.with_mask(left[name], remain[name]) for name, layer in layers.items()}
    masks = GROWTHS[parts.growth](after, {name: math.floor(number) for name, number in g.items()}, R + a, memory)
    d = baseline - sum(counts(masks).values())
    memory["sum"], memory["updates"] = memory.get("sum", 0.0) + d, memory.get("updates", 0) + 1
    memory["adjusted"] = 0.25 * a + 0.75 * d + memory["sum"] / memory["updates"]
    return Change(masks, {name: masks[name] & ~left[name] for name in masks})


def normalised(importance: Mapping[str, float]) -> dict[str, float]:
    """v_l; 0 everywhere where no layer has any importance."""
    total = sum(importance.values())
    return {name: value / total if total else 0.0 for name, value in importance.items()}


def rate(layer: Layer, p: float, v: float, layers: int) -> float:
    """p_l"""
    free = (layer.size - layer.active) / layer.size
    return min(free, p) if free < NEARLY_DENSE and v > 1 / layers else p


def capped(wanted: Mapping[str, float], capacity: Mapping[str, int]) -> dict[str, float]:
    """g_l"""
    g, mean = dict(wanted), 0.0
    for _ in range(ROUNDS):
        residual = 0.0
        for name, most in capacity.items():
            g[name] += mean
            if g[name] > FULL * most:
                residual += g[name] - FULL * most
                g[name] = FULL * most
        if residual == 0:
            break
        mean = residual / len(g)
    return g


class ReleasedRewiring(Rewiring):
    def change(self, layers: Mapping[str, Layer], step: int) -> Change:
        parts: Any = self.rule.criteria
        return update(layers, parts, self.times.fraction(step), self.first, self.memory)


class ReleasedRule(Rule):
    live = ReleasedRewiring
