"""Orthogonal matrices on regular graphs that hang together well (not from a paper; the published construction,
`linalg.ramanujan`, is a union of complete graphs, whose spectral gap is 0).

    W = A P B,   A: r x c with d_1 nonzeros a row,  B: c x c with d_2,  both of blocks (`linalg.ramanujan`);  r <= c
    P a permutation such that no two columns of a block of A meet the same block of B

Then W W^T = A B B^T A^T = I, no two products fall on one entry, and W has D = d_1 d_2 nonzeros a row, r D / c a column.
Its graph is that of the blocks, in which A's have degree d_1 and B's d_2, each vertex taken several times, so it has
the same normalised singular values: those of a random biregular graph, whose second is near (sqrt(d_1 - 1) +
sqrt(d_2 - 1)) / sqrt(d_1 d_2) whatever the size. Of some drawn the one of largest gap is taken (D = 16: 0.20 at 128 x
128 and 0.15 at 1024 x 1024; published: 0).

Rows that meet in a single column are never orthogonal, so most regular graphs have no such matrix: here D has to be a
product, and d_1 = d_2 = 2 would be cycles, whose gap falls as 1 / c^2. So the least D is 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from sparse_ortho.errors import UserError
from sparse_ortho.linalg.graphs import graph_of
from sparse_ortho.linalg.haar import haar
from sparse_ortho.linalg.ramanujan import degrees

DRAWS = 8  # base graphs of which the best is taken: at 32 x 32 of degree 4 nine of ten gaps are 0.15 to 0.21
SWAPS = 100  # sweeps over double edges for each edge, so many that it never ends there


def expander_degrees(rows: int, cols: int) -> list[int]:
    """Every D that is a product as above, ascending."""
    return sorted({first * second for first, second in _factors(rows, cols)})


def expander_orthogonal(
    rows: int, cols: int, degree: int, rng: np.random.Generator, values: np.random.Generator | None = None
) -> np.ndarray:
    """A random matrix with orthonormal rows (tall: columns), `degree` nonzeros in each, and a connected graph.

    `values`: what the numbers are drawn from, if not from the generator of the graph.
    """
    narrow, wide = sorted((rows, cols))
    pairs = [pair for pair in _factors(rows, cols) if pair[0] * pair[1] == degree]
    if not pairs:
        raise UserError(
            "degree",
            f"no expander of this kind has it in a matrix of {rows} x {cols}",
            found=degree,
            allowed=", ".join(map(str, expander_degrees(rows, cols))) or "none",
        )
    first, second = min(pairs, key=lambda pair: (_second(*pair), pair))
    base = _best(wide // first, first, wide // second, second, rng)
    matrix = np.zeros((narrow, wide))
    left, right = rng.permutation(narrow).reshape(wide // first, -1), rng.permutation(wide).reshape(-1, second)
    tall = narrow * first // wide  # rows of a block of A
    ends = [iter(range(second)) for _ in right]
    blocks = [haar(second, second, values or rng) for _ in right]
    for rows_of, meets in zip(left, base, strict=True):
        turned = haar(tall, first, values or rng)
        for column, block in enumerate(meets):
            matrix[np.ix_(rows_of, right[block])] = np.outer(turned[:, column], blocks[block][next(ends[block])])
    return matrix if rows <= cols else np.ascontiguousarray(matrix.T)


def _factors(rows: int, cols: int) -> Iterator[tuple[int, int]]:
    """(d_1, d_2) with a simple base graph that is no cycle."""
    wide = max(rows, cols)
    for first in degrees(rows, cols):
        for second in range(2, wide // first + 1):
            if wide % second == 0 and first >= 2 and first * second > 4:
                yield first, second


def _second(first: int, second: int) -> float:
    """The second singular value of a large random base graph."""
    return (math.sqrt(first - 1) + math.sqrt(second - 1)) / math.sqrt(first * second)


def _best(many: int, degree: int, others: int, back: int, rng: np.random.Generator) -> np.ndarray:
    """The neighbours, many x degree, of the drawn graph with the largest gap; connected ones have one."""
    found: list[tuple[float, np.ndarray]] = []
    while len(found) < DRAWS or max(gap for gap, _ in found) == 0:
        neighbours = _simple(many, degree, others, back, rng)
        mask = np.zeros((many, others), dtype=bool)
        mask[np.arange(many)[:, None], neighbours] = True
        found.append((graph_of(mask).gap, neighbours))
        if degree == others:
            break  # complete: there is no other
    return max(found, key=lambda pair: pair[0])[1]


def _simple(many: int, degree: int, others: int, back: int, rng: np.random.Generator) -> np.ndarray:
    """A random biregular graph: half-edges joined at random, double edges swapped away with random others."""
    ends = rng.permutation(np.repeat(np.arange(others), back)).reshape(many, degree)
    for _ in range(SWAPS * ends.size):
        order = np.argsort(ends, axis=1, kind="stable")
        again = np.diff(np.take_along_axis(ends, order, 1), axis=1) == 0
        if not again.any():
            return ends
        for row, place in np.argwhere(again):
            at = order[row, place + 1]
            other, there = int(rng.integers(many)), int(rng.integers(degree))
            if ends[other, there] not in ends[row] and ends[row, at] not in ends[other]:
                ends[row, at], ends[other, there] = ends[other, there], ends[row, at]
        if degree == others:
            return np.tile(np.arange(others), (many, 1))
    raise AssertionError("a biregular graph keeps its double edges")
