"""The value of an option that brings a measured density to a target, by few trainings: a bracket, then chords.

    density is taken to fall with the value; both are looked at by their logarithms. From a first guess the value is
    multiplied or divided by 4 until the target lies between two trainings; then the chord of the two nearest is cut, by
    the Illinois rule, which halves the weight of an end that stays.

Deterministic: the same measurements lead to the same values. It is measured densities that are compared, never what the
formula promises. A density of 0 counts as one weight in a million.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

FACTOR = 4.0
NONE = 1e-6  # stands for a density of 0, which has no logarithm


@dataclass(frozen=True)
class Found:
    value: float
    density: float
    hit: bool  # within the tolerance
    tried: tuple[tuple[float, float], ...]  # value, density of every training, in their order


def search(density_of: Callable[[float], float], target: float, first: float, *, tolerance: float, most: int) -> Found:
    """The best of at most `most` values."""
    tried: list[tuple[float, float]] = []

    def error(value: float) -> float:
        tried.append((value, density_of(value)))
        return math.log(max(tried[-1][1], NONE)) - math.log(target)

    def found() -> Found | None:
        value, density = min(tried, key=lambda pair: abs(math.log(max(pair[1], NONE) / target)))
        hit = abs(density - target) <= tolerance * target
        return Found(value, density, hit, tuple(tried)) if hit or len(tried) >= most else None

    x = math.log(first)
    y = error(first)
    low, high = ((x, y), None) if y > 0 else (None, (x, y))  # too dense needs a larger value, too sparse a smaller one
    kept = 0
    while (result := found()) is None:
        if low is None or high is None:
            x += math.log(FACTOR) if high is None else -math.log(FACTOR)
            kept = 0
        else:
            x = low[0] + (high[0] - low[0]) * low[1] / (low[1] - high[1])
        y = error(math.exp(x))
        if y > 0:
            low = (x, y)
            high = (high[0], high[1] / 2) if high is not None and kept == 1 else high
            kept = 1
        else:
            high = (x, y)
            low = (low[0], low[1] / 2) if low is not None and kept == -1 else low
            kept = -1
    return result
