"""Which numbers of nonzeros an orthogonal matrix can have (Beasley, Brualdi, Shader, "Combinatorial orthogonality", IMA
Vol. Math. Appl. 50, 1993; Cheon, Johnson, Lee, Pribble, "The possible numbers of zeros in an orthogonal matrix",
Electron. J. Linear Algebra 5, 1999).

    an n x n orthogonal matrix that is no direct sum:  n = 1: 1;   n >= 2: every number from 4 n - 4 to n^2
    n x n, direct sums too:  every number from n to n^2 but n + 1 and n + 3;  fewer for n = 2, 3 and 4
    r x c with r < c and orthonormal rows:  every number from r to r c

The rest is derived here, with what follows for Givens rotations: from [I | 0] they reach all of these numbers. Rotating
columns (1, 2), (2, 3), ... (m - 1, m) gives nested supports of sizes 2, 3, ..., m, m, and then any smaller column can
be raised to any size that is there, so that one block of m has every number of nonzeros beyond m from (m^2 + m - 2) / 2
to m^2 - m; these ranges overlap from m = 6 on, and blocks of 2, 3 and 4 beside them give what is under. With a zero
column the sizes are 1, 2, ..., m, m, from m (m + 1) / 2 on, and further zero columns are raised in the same way.
"""

from __future__ import annotations

SMALL = {1: (), 2: (3,), 3: (4, 6, 7), 4: (5, 7, 11)}


def impossible(rows: int, cols: int) -> tuple[int, ...]:
    """The numbers from min(rows, cols) to rows * cols that no matrix with orthonormal rows or columns has."""
    if rows != cols:
        return ()
    return SMALL.get(rows, (rows + 1, rows + 3))
