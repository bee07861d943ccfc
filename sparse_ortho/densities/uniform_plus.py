"""Uniform plus (Gale, Elsen, Hooker, "The State of Sparsity in Deep Neural Networks", 2019, arXiv 1902.09574).

    k_first = N_first,   k_last >= head * N_last,   the same density in all others, and in the last if it is higher

First and last are in the order of the network; head = 0.2 is the paper's. What the ends take is taken from the others,
so `total` is met exactly, by water-filling with floors. A total under the two ends is refused.
Not from the paper: exact counts, and that the program of Liu et al. (ICLR 2022, arXiv 2202.02643) knows the ends by the
names `conv` and `fc` and misses the total both ways: `uniform_plus@as_released`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sparse_ortho import budgets

DENSE = {"first": 1.0, "last": 0.2}  # densities that the ends keep whatever the total
ORDERED = True  # counts depend on the order of the layers


def uniform_plus(shapes: Mapping[str, tuple[int, ...]], total: int, *, head: float = 0.2) -> dict[str, int]:
    """Counts by layer that sum to `total`; the first layer is whole and the last keeps at least `head`."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    names = list(sizes)
    floors = {names[-1]: budgets.budget(head, sizes[names[-1]], "densities.uniform_plus.head")}
    floors[names[0]] = sizes[names[0]]
    return budgets.fill(sizes, sizes, total, floors)
