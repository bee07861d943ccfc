"""Erdos-Renyi without the kernel (Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
connectivity inspired by network science", Nature Communications 2018; for convolutions as in Liu et al., "The
Unreasonable Effectiveness of Random Pruning", ICLR 2022, arXiv 2202.02643).

    density_l = eps * (c_in + c_out) / (c_in * c_out)        the sides of a kernel are not read

A layer that would pass density 1 is dense and the others take the rest: water-filling, as for ERK. For linear layers
the two schemes are one. Not from the papers: exact integer counts by largest remainder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sparse_ortho import budgets


def er(shapes: Mapping[str, tuple[int, ...]], total: int) -> dict[str, int]:
    """Counts by layer that sum to `total`."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    # N (c_in + c_out) / (c_in c_out) is the kernel's area times the sum: an integer, so equal layers tie exactly.
    shares = {name: sum(shape[:2]) * math.prod(shape[2:]) for name, shape in shapes.items()}
    return budgets.fill(shares, sizes, total)
