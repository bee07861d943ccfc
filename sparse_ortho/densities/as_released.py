"""Schemes as released programs have them: a layer that would pass density 1 is cut there, and the surplus is lost.

    erk            min(1, c * sum(shape) / prod(shape)),  c = total / sum over layers of sum(shape)
    balanced       min(1, x / N_l),                       x = total / (number of layers)
    uniform_plus   the first layer dense; if density < 0.2, head * N in the last and (total - both) / N_all in others,
                   else `density` in all others, on top of the first

The first two are those of the program beside Gadhikar, Mukherjee, Burkholz (ICML 2023, arXiv 2210.02412; folder STR),
and the first also `linear` of Dettmers, Zettlemoyer (arXiv 1907.04840), which draws with a probability that may pass 1.
The third is of Liu et al. (ICLR 2022, arXiv 2202.02643), for any network instead of layers called `conv` and `fc`.
`total` is met by none of them: at density 0.5 a ResNet-18 has 0.389 (erk) and 0.266 (balanced). Not from the programs:
counts are rounded halves up; there each weight is drawn by itself, which is `exact: false` of the score `random`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from sparse_ortho.budgets import budget

EXACT = False  # counts do not sum to the total
ORDERED = True  # uniform_plus depends on the order of the layers

Shapes = Mapping[str, tuple[int, ...]]


def erk_as_released(shapes: Shapes, total: int) -> dict[str, int]:
    """Counts by layer, capped."""
    c = Fraction(total, sum(map(sum, shapes.values())))
    return {name: _cut(c * sum(shape), math.prod(shape)) for name, shape in shapes.items()}


def balanced_as_released(shapes: Shapes, total: int) -> dict[str, int]:
    """Counts by layer, equal and capped."""
    return {name: _cut(Fraction(total, len(shapes)), math.prod(shape)) for name, shape in shapes.items()}


def uniform_plus_as_released(shapes: Shapes, total: int, *, head: float = 0.2) -> dict[str, int]:
    """Counts by layer; above density 0.2 they sum to more than `total`, below to less."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    size, (first, *_, last) = sum(sizes.values()), [*sizes, *sizes]
    density = Fraction(total, size)
    if density < Fraction(1, 5):
        kept = budget(head, sizes[last], "densities.uniform_plus@as_released.head")
        density = max(Fraction(0), Fraction(total - sizes[first] - kept, size))
        return {n: _cut(density * s, s) for n, s in sizes.items()} | {last: kept} | {first: sizes[first]}
    return {n: _cut(density * s, s) for n, s in sizes.items()} | {first: sizes[first]}


def _cut(wanted: Fraction, size: int) -> int:
    return min(size, math.floor(wanted + Fraction(1, 2)))
