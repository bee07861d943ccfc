"""Uniform: every layer keeps the same fraction of its weights.

    k_l = total * N_l / sum N        rounded by largest remainder, so that the counts sum to `total`

The rounding is not from a paper: released code draws each weight with probability `density` or rounds each layer alone,
and misses the total either way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sparse_ortho import budgets


def uniform(shapes: Mapping[str, tuple[int, ...]], total: int) -> dict[str, int]:
    """Counts by layer that sum to `total`."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    return budgets.fill(sizes, sizes, total)
