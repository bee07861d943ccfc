"""The sparsest orthogonal matrices that are no direct sum (Beasley, Brualdi, Shader, "Combinatorial orthogonality", IMA
Vol. Math. Appl. 50, 1993: a fully indecomposable n x n one with n >= 2 has at least 4 n - 4 nonzeros).

    I_n G(1,2) G(3,4) ... G(2,3) G(4,5) ...     two sweeps of Givens rotations over neighbouring columns

has that number: each rotation of the second sweep joins two blocks through columns of two entries. Up to four entries a
row, and rows and columns far apart meet only through products of such matrices.

Not from the paper: a wide matrix first spreads [I | 0] over its zero columns, one entry each, so that it has
c + 3 r - 4 nonzeros (r = 1: c) and no empty column; angles are uniform; `shuffled` permutes rows and columns.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from sparse_ortho.linalg.givens import shuffled
from sparse_ortho.linalg.rotations import Rotations, on_sparse


def sparsest_count(rows: int, cols: int) -> int:
    narrow, wide = sorted((rows, cols))
    return wide + max(0, 3 * narrow - 4)


def sparsest(rows: int, cols: int, rng: np.random.Generator) -> csr_array:
    """A random matrix with orthonormal rows (tall: columns), all of whose rows and columns hang together."""
    narrow, wide = sorted((rows, cols))
    pairs = [(column % narrow, column) for column in range(narrow, wide)]
    pairs += [(i, i + 1) for first in (0, 1) for i in range(first, narrow - 1, 2)]
    i, j = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    matrix = on_sparse(narrow, wide, Rotations(i, j, rng.uniform(0.0, 2.0 * np.pi, len(pairs))))
    return shuffled(matrix if rows <= cols else csr_array(matrix.T), rng)
