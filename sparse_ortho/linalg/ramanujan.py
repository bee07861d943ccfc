"""Orthogonal matrices on regular bipartite graphs (Esguerra, Nasir, Tang, Tumian, Ho, "Sparsity-Aware Orthogonal
Initialization of Deep Neural Networks", IEEE Access 2023, doi 10.1109/ACCESS.2023.3295344).

    r x c with r <= c:  D nonzeros in each row, a = r D / c in each column, density D / c
    the columns fall into c / D sets of D; row i lives on set i mod (c / D)
    the a rows of one set:  the first a rows of a random D x D orthogonal matrix

A tall matrix is the transpose of a wide one. D has to divide c, and c to divide r D. Such a graph is a disjoint union
of c / D complete ones, so within a layer it is Ramanujan only as far as K_{a,D} is; what connects the inputs is that
every layer draws sets of its own.

Not from the paper: the sets are a uniformly random partition, from one permutation (the released code adds columns at
random, two a row, until all sums are right, and never ends for D = 1); the D x D matrices are Haar distributed; a D
that does not divide is refused (there: rows of zeros).
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.errors import UserError
from sparse_ortho.linalg.haar import haar


def degrees(rows: int, cols: int) -> list[int]:
    """Every D that divides, ascending; the last, max(rows, cols), is the dense matrix."""
    narrow, wide = sorted((rows, cols))
    return [degree for degree in range(1, wide + 1) if wide % degree == 0 and narrow * degree % wide == 0]


def regular_orthogonal(
    rows: int, cols: int, degree: int, rng: np.random.Generator, values: np.random.Generator | None = None
) -> np.ndarray:
    """A random matrix with orthonormal rows (tall: columns), `degree` nonzeros in each.

    `values`: what the numbers are drawn from, if not from the generator of the graph.
    """
    narrow, wide = sorted((rows, cols))
    if degree not in degrees(rows, cols):
        raise UserError(
            "degree",
            f"must divide {wide}, and {narrow} times it be divisible by {wide}, for a matrix of {rows} x {cols}",
            found=degree,
            allowed=", ".join(map(str, degrees(rows, cols))),
        )
    sets = rng.permutation(wide).reshape(-1, degree)
    matrix = np.zeros((narrow, wide))
    for first, columns in enumerate(sets):
        matrix[first :: len(sets), columns] = haar(narrow // len(sets), degree, values or rng)
    return matrix if rows <= cols else np.ascontiguousarray(matrix.T)


def looks_linear(matrix: np.ndarray) -> np.ndarray:
    """[M, -M; -M, M]: with relu in between, (relu(z), relu(-z)) -> (M z, -M z), so what z becomes is linear in z."""
    return np.block([[matrix, -matrix], [-matrix, matrix]])
