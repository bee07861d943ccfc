"""Erdos-Renyi-Kernel (Evci, Gale, Menick, Castro, Elsen, "Rigging the Lottery", ICML 2020, arXiv 1911.11134).

    density_l = eps * ((n^{l-1} + n^l + w^l + h^l) / (n^{l-1} n^l w^l h^l))^power

A layer that would pass density 1 is made dense and eps is solved again over the rest; repeated, that is water-filling
at the cap, which `budgets.fill` solves in one go. Not from the paper: exact integer counts by largest remainder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sparse_ortho import budgets


def erk(shapes: Mapping[str, tuple[int, ...]], total: int, *, power: float = 1.0) -> dict[str, int]:
    """Counts by layer that sum to `total`; `power` 0 is uniform."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    # N (S / N)^p as N^(1-p) S^p: at p = 1 this is the integer S exactly, so equal layers tie exactly.
    shares = {name: sizes[name] ** (1 - power) * sum(shape) ** power for name, shape in shapes.items()}
    return budgets.fill(shares, sizes, total)
