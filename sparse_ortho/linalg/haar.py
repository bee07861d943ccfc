"""Uniformly random orthogonal matrices (Mezzadri, "How to generate random matrices from the classical compact groups",
Notices of the AMS 2007, arXiv math-ph/0609050).

    Q R = G,  G Gaussian;   Q diag(sign R_ii)  is Haar distributed;  Q alone is not: LAPACK fixes its signs
"""

from __future__ import annotations

import numpy as np


def haar(rows: int, cols: int, rng: np.random.Generator) -> np.ndarray:
    """A uniformly random matrix with orthonormal rows, or columns if it is tall."""
    q, r = np.linalg.qr(rng.standard_normal((max(rows, cols), min(rows, cols))))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(q if rows >= cols else q.T)


def projection(size: int, rng: np.random.Generator) -> np.ndarray:
    """A symmetric projection: a random orthonormal basis of which each vector is kept with probability 1/2."""
    basis = haar(size, size, rng)[:, rng.random(size) < 0.5]
    return basis @ basis.T
