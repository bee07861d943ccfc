"""Balanced: every layer keeps the same number of weights (Gadhikar, Mukherjee, Burkholz, "Why Random Pruning Is All We
Need to Start Sparse", ICML 2023, arXiv 2210.02412).

    k_l = min(N_l, x)        x solves  sum k_l = total

In the released program x = total / (number of layers), and what full layers cannot take is lost: at density 0.5 a
VGG-16 has 0.324 and a ResNet-18 0.266; that is `balanced@as_released`. Not from the paper: redistribution, and exact
integer counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sparse_ortho import budgets


def balanced(shapes: Mapping[str, tuple[int, ...]], total: int) -> dict[str, int]:
    """Counts by layer that sum to `total`, equal where layers are large enough."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    return budgets.fill(dict.fromkeys(shapes, 1), sizes, total)
