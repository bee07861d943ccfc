"""Constant fan-in: every output of a layer has the same number of active inputs (Lasby, Golubeva, Evci, Nica, Ioannou,
"Dynamic Sparse Training with Structured Sparsity", ICLR 2024, arXiv 2305.02299).

    each of the c_out rows of c_in / groups * k * k weights keeps its d_l best        a layer keeps d_l * c_out

One more for every row is a unit, worth what the rows' next best weights score together. Not from the paper: any score,
and budgets over all layers.
"""

from __future__ import annotations

import math

import numpy as np

from sparse_ortho.structures.units import Units, ranks

UNIT = "fan_in"


def fan_in(scores: np.ndarray, groups: int) -> Units:
    """Unit j: the j-th best weight of every output."""
    shape = scores.shape
    return Units(ranks(scores.reshape(shape[0], -1)).reshape(shape), (math.prod(shape[1:]),), nested=True)
