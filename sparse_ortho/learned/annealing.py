"""Densities of the levels of a training that comes down to its target step by step.

    b = (rho / start)^(1 / L),   s_0 = start,   s_l = max(rho, min(E, b s_{l-1}))       l = 1 .. L

E is the density of the frame. As in the released program of Gadhikar et al. (ICML 2023) the clip feeds back, so after a
level at E the path is below the geometric one, and the last levels may all be at rho.
"""

from __future__ import annotations


def levels(final: float, start: float, count: int, frame: float = 1.0) -> list[float]:
    """s_1 .. s_L; the last one is `final`."""
    if final > frame:
        return [final] * count  # nothing to come down from: every layer keeps what it has
    factor, path = (final / start) ** (1 / count), [start]
    for _ in range(count):
        path.append(max(final, min(frame, factor * path[-1])))
    return [*path[1:-1], final]  # the last by its name: in binary b^L start is a little off


def level_of(step: int, total: int, count: int) -> int:
    """Which level, from 0, the step after `step` finished ones belongs to."""
    return min(count - 1, step * count // max(1, total))
