"""Blocks of the weight matrix (Narang, Undersander, Diamos, "Block-Sparse Recurrent Neural Networks", 2017, arXiv
1711.02782; Gray, Radford, Kingma, "GPU Kernels for Block-Sparse Weights", 2017).

    c_out x (c_in / groups * k * k), cut into rows x cols        score of a block = sum of its weights' scores

Blocks at the lower and the right edge are cut to what the sides leave, and no block holds outputs of two groups.
Not from the papers: convolutions and groups, and that blocks of several sizes compete per weight (see `units`).
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.errors import UserError
from sparse_ortho.structures.units import Units

RANGES = {"rows": "at least 1", "cols": "at least 1"}
UNIT = "block"


def block(scores: np.ndarray, groups: int, *, rows: int = 4, cols: int = 4) -> Units:
    """One unit a block."""
    if rows < 1 or cols < 1:
        raise UserError("structures.block", "a block has at least one row and one column", found=(rows, cols))
    height = len(scores) // groups
    out, into = np.arange(len(scores)), np.arange(scores[0].size)
    down, across = -(-height // rows), -(-len(into) // cols)
    place = (out // height * down + out % height // rows)[:, None] * across + (into // cols)[None, :]
    return Units(place.reshape(scores.shape), (groups * down, across))
