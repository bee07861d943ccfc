"""Uniform between dense ends: `uni_skip` in the released program of Nowak, Gniecki, Szatkowski, Tabor, ICML 2024.

    k_first = N_first,  k_last = N_last,   k_l = (total - k_first - k_last) * N_l / sum of the other N

First and last are in the order of the network. Theirs are the layers of 3 input channels and the linear ones that are
not square, which in its 1000-layer networks are the same two.
Not from the released program: `total` is met exactly, so that what the ends take is taken from the others (there it
comes on top: 0.130 for 0.125 in the 1000-layer MLP). A total under the two ends is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sparse_ortho import budgets
from sparse_ortho.errors import UserError

DENSE = "ends"  # layers that are whole whatever the total


def uniform_skip(shapes: Mapping[str, tuple[int, ...]], total: int) -> dict[str, int]:
    """Counts by layer that sum to `total`; the first and the last layer are whole."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    ends = {name: sizes[name] for name in (*list(sizes)[:1], *list(sizes)[-1:])}
    least, most = sum(ends.values()), sum(sizes.values())
    if total < least:
        raise UserError(
            "density",
            "uniform_skip keeps the first and the last layer whole, which alone are more weights",
            found=float(f"{total / most:.6g}"),
            allowed=f"[{least / most:.6g}, 1] ({least} to {most} weights)",
        )
    return budgets.fill(sizes, sizes, total, ends)
