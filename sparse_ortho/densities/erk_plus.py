"""ERK plus: ERK with a last layer of its own density (`ERK_plus` of the program of Liu et al., "The Unreasonable
Effectiveness of Random Pruning", ICLR 2022, arXiv 2202.02643).

    k_last = head * N_last        ERK shares total - k_last among the others

Last is in the order of the network. A total under k_last, or above what the others can add to it, is refused. Not from
the paper: exact integer counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sparse_ortho import budgets

DENSE = {"last": 1.0}  # densities that the ends keep whatever the total
ORDERED = True  # counts depend on the order of the layers


def erk_plus(
    shapes: Mapping[str, tuple[int, ...]], total: int, *, head: float = 1.0, power: float = 1.0
) -> dict[str, int]:
    """Counts by layer that sum to `total`; the last layer keeps exactly `head`."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    shares = {name: sizes[name] ** (1 - power) * sum(shape) ** power for name, shape in shapes.items()}
    last = list(sizes)[-1]
    fixed = {last: budgets.budget(head, sizes[last], "densities.erk_plus.head")}
    return budgets.fill(shares, sizes, total, fixed, fixed)
