"""Pyramid: densities fall geometrically with depth (Gadhikar, Mukherjee, Burkholz, "Why Random Pruning Is All We Need
to Start Sparse", ICML 2023, arXiv 2210.02412).

    density_l = r^l,  l = 1 ... L in the order of the network        r in [0, 1] solves  sum N_l r^l = total

The sum grows with r, so the root is unique: bisection down to neighbouring floats. The released program takes the roots
of the polynomial by eigenvalues, degree 54 for a ResNet-50. Not from the paper: exact integer counts by largest
remainder. In a deep network the last layers end up with no weight at all: that is the scheme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sparse_ortho import budgets

ORDERED = True  # counts depend on the order of the layers


def pyramid(shapes: Mapping[str, tuple[int, ...]], total: int) -> dict[str, int]:
    """Counts by layer that sum to `total`."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    r = rate(list(sizes.values()), total)
    return budgets.fill({name: n * r**depth for depth, (name, n) in enumerate(sizes.items(), 1)}, sizes, total)


def rate(sizes: Sequence[int], total: int) -> float:
    """r of the formula, to the last bit or two."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        if math.fsum(n * middle**depth for depth, n in enumerate(sizes, 1)) < total:
            low = middle
        else:
            high = middle
    return high
