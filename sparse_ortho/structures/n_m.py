"""N:M: at most n of every m weights in a row along the input channels (Mishra et al., "Accelerating Sparse Deep Neural
Networks", 2021, arXiv 2104.08378: 2:4; Zhou et al., ICLR 2021, arXiv 2102.04010: any).

    of channels m g ... m g + m - 1 of one output and tap the n best stay        density n / m in every layer

Channels that are left over, and layers of fewer than m (images have three channels), are groups of their own size that
keep n too, or all they have: what hardware sees as padded with zeros. So a layer is at n / m or above.
Not from the papers: any score; they take magnitudes of trained weights, and leave out layers that m does not divide.
"""

from __future__ import annotations

import math

import numpy as np

from sparse_ortho.errors import UserError
from sparse_ortho.structures.units import Units, ranks

UNIT = "n_m"
DENSITY = ("n", "m")  # two options whose ratio is the only density


def n_m(scores: np.ndarray, groups: int, *, n: int = 2, m: int = 4) -> Units:
    """Unit j: the j-th best weight of every m."""
    if not 1 <= n <= m:
        raise UserError("structures.n_m.n", "keeps as many of every m", found=n, allowed=f"1 to m = {m}")
    rows, cols, taps = scores.shape[0], scores.shape[1], math.prod(scores.shape[2:])
    wide = np.full((rows, taps, -(-cols // m) * m), -np.inf)
    wide[..., :cols] = scores.reshape(rows, cols, taps).transpose(0, 2, 1)
    places = ranks(wide.reshape(rows, taps, -1, m)).reshape(rows, taps, -1)[..., :cols]
    return Units(np.ascontiguousarray(places.transpose(0, 2, 1)).reshape(scores.shape), (m,), nested=True, keep=n)
