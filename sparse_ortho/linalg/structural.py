"""The structural rank of a mask: the largest rank that a matrix with these nonzeros can have (Dulmage, Mendelsohn,
"Coverings of bipartite graphs", Canadian J. Math. 10, 1958).

    rank(C) <= size of a maximum matching of rows and columns over active entries, with equality for almost all values

So C C^T = I needs a matching that covers every row (tall: column), else ||C C^T - I||_F >= sqrt(rows that are left);
+-1 on a maximum matching and 0 elsewhere attains it. A random mask of 100 x 100 at density 0.05 leaves 0 to 3.

Not from the paper: matchings are random, by permuting rows and columns before; `full_rank` joins each row that is left
to a column that is left, and closes as many entries outside the matching: the number of active entries stays.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching, structural_rank

from sparse_ortho.errors import UserError


def missing_rank(mask: np.ndarray) -> int:
    """How many rows (tall: columns) no matching covers."""
    return min(mask.shape) - int(structural_rank(csr_array(mask.astype(np.int8))))


def maximum_matching(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Active entries, as many as there can be, of which no two share a row or a column."""
    rows, cols = (rng.permutation(side) for side in mask.shape)
    column = maximum_bipartite_matching(csr_array(mask[np.ix_(rows, cols)].astype(np.int8)), perm_type="column")
    matching = np.zeros(mask.shape, dtype=bool)
    matching[rows[column >= 0], cols[column[column >= 0]]] = True
    return matching


def full_rank(mask: np.ndarray, rng: np.random.Generator, where: str = "mask") -> np.ndarray:
    """The mask with full structural rank and the same number of active entries; itself where it has that already."""
    needed, count = min(mask.shape), int(np.count_nonzero(mask))
    if count < needed:
        raise UserError(
            where, "too few active weights for full rank", found=count, allowed=f"{needed} to {mask.size} of them"
        )
    matching = maximum_matching(mask, rng)
    moves = needed - int(np.count_nonzero(matching))
    rows, cols = (rng.permutation(np.flatnonzero(~matching.any(axis)))[:moves] for axis in (1, 0))
    made = mask.copy()
    made.reshape(-1)[rng.choice(np.flatnonzero(mask & ~matching), moves, replace=False)] = False
    made[rows, cols] = True
    return made
