"""Random Givens rotations of the columns of [I | 0]: drawn, followed on supports alone, and applied many at a time.

    G(i, j, phi):  a_i <- cos(phi) a_i + sin(phi) a_j,   a_j <- cos(phi) a_j - sin(phi) a_i

Both columns get the union of their supports, kept as bit sets (Python integers): how many nonzeros a rotation adds is
one `xor` and one popcount, 0.4 us at 2048 rows. The numbers follow afterwards. Rotations of disjoint columns commute:
a sequence falls into few products (2048 x 2048 at density 0.05: 4,800 rotations, 24 products).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, zip_longest
from typing import Any

import numpy as np
from scipy.sparse import csr_array, eye_array

BLOCK = 1024  # rotations drawn at once; part of what a seed means
LOOK = 256  # pairs that become Python numbers at once: of a block of 1,024 a small matrix needs 200
PADDED = 8  # entries beside each column: 128 in a row lie 1 KiB apart, and reading across takes three times as long
DENSE = 1 << 16  # entries up to which products are done on the array: 128 x 128 in 0.1 ms, by sparse ones in 1.4


@dataclass(frozen=True)
class Rotations:
    """A sequence as parallel arrays, i < j."""

    i: np.ndarray
    j: np.ndarray
    angle: np.ndarray

    def __len__(self) -> int:
        return len(self.i)

    def pairs(self) -> Iterator[tuple[int, int]]:
        starts = range(0, len(self), LOOK)
        return chain.from_iterable(
            zip(self.i[n : n + LOOK].tolist(), self.j[n : n + LOOK].tolist(), strict=True) for n in starts
        )

    def take(self, which: Any) -> Rotations:
        return Rotations(self.i[which], self.j[which], self.angle[which])

    def moved(self, columns: int) -> Rotations:
        return Rotations(self.i + columns, self.j + columns, self.angle)

    @classmethod
    def join(cls, parts: Sequence[Rotations]) -> Rotations:
        empty = cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
        columns = zip(*((part.i, part.j, part.angle) for part in (empty, *parts)), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def draw(cols: int, rng: np.random.Generator) -> Rotations:
    """The next `BLOCK` uniform unordered pairs of columns with uniform angles."""
    first = rng.integers(cols, size=BLOCK)
    second = rng.integers(cols - 1, size=BLOCK)
    angle = rng.uniform(0.0, 2.0 * np.pi, size=BLOCK)
    second += second >= first
    return Rotations(np.minimum(first, second), np.maximum(first, second), angle)  # the smaller index plays i


def supports_after(rows: int, cols: int, rotations: Rotations | None = None) -> list[int]:
    """The support of every column as a bit set of rows."""
    supports = [1 << row if row < rows else 0 for row in range(cols)]
    for i, j in rotations.pairs() if rotations else ():
        supports[i] = supports[j] = supports[i] | supports[j]
    return supports


def on_arrays(rows: int, cols: int, sequences: Sequence[Rotations]) -> list[np.ndarray]:
    """[I | 0] times all rotations of each sequence, on dense arrays; together they take a third of the time of each."""
    joined = Rotations.join([part.moved(which * cols) for which, part in enumerate(sequences)])
    turned = np.zeros((len(sequences), cols, rows + PADDED))  # A^T: columns are rows
    turned[:, :, :rows] = np.eye(cols, rows)
    flat = turned.reshape(-1, rows + PADDED)
    order, ends = _order(len(flat), joined)
    pairs = np.stack([joined.i, joined.j])[:, order]
    cos, sin = (function(joined.angle[order])[:, None] for function in (np.cos, np.sin))
    signed = np.stack([-sin, sin])
    for start, end in pairwise([0, *ends]):
        both = pairs[:, start:end]
        before = flat.take(both, axis=0)  # 2 x rotations x rows
        after = cos[start:end] * before
        before *= signed[:, start:end]
        after += before[::-1]
        flat[both] = after
    return list(turned[:, :, :rows].transpose(0, 2, 1))


def on_sparse(rows: int, cols: int, rotations: Rotations) -> csr_array:
    """[I | 0] times all rotations; memory follows the nonzeros.

    Neighbouring products are multiplied first, so that few are large: 2048 x 2048 at 0.05 in 3 ms, in turn in 8.
    """
    if rows * cols <= DENSE:
        return csr_array(on_arrays(rows, cols, [rotations])[0])
    order, ends = _order(cols, rotations)
    factors = [_factor(cols, rotations.take(order[a:b])) for a, b in pairwise([0, *ends])]
    while len(factors) > 1:
        pairs = zip_longest(factors[::2], factors[1::2])
        factors = [first if second is None else second @ first for first, second in pairs]
    turned = factors[0] if factors else csr_array(eye_array(cols, format="csr"))
    matrix = csr_array(turned[:, :rows].T)
    matrix.sort_indices()
    return matrix


def _order(cols: int, rotations: Rotations) -> tuple[np.ndarray, list[int]]:
    """An order in which those up to each of the ends, from the one before, turn disjoint columns; few ends."""
    ready, turns = [0] * cols, []
    for i, j in rotations.pairs():
        turn = ready[i] if ready[i] > ready[j] else ready[j]
        turns.append(turn)
        ready[i] = ready[j] = turn + 1
    turned = np.array(turns, dtype=np.int64)
    return np.argsort(turned, kind="stable"), np.cumsum(np.bincount(turned)).tolist()


def _factor(cols: int, part: Rotations) -> csr_array:
    """The transpose of a product of rotations of disjoint columns: two entries in the rows that turn, else a 1."""
    partner, diagonal, beside = np.full(cols, -1), np.ones(cols), np.zeros(cols)
    partner[part.i], partner[part.j] = part.j, part.i
    diagonal[part.i] = diagonal[part.j] = np.cos(part.angle)
    beside[part.i] = np.sin(part.angle)
    beside[part.j] = -beside[part.i]
    turns = np.flatnonzero(partner >= 0)
    starts = np.concatenate([[0], np.cumsum(1 + (partner >= 0))]).astype(np.int32)
    values, places = np.empty(starts[-1]), np.empty(starts[-1], dtype=np.int32)
    values[starts[:-1]], places[starts[:-1]] = diagonal, np.arange(cols)
    values[starts[turns] + 1], places[starts[turns] + 1] = beside[turns], partner[turns]
    return csr_array((values, places, starts), shape=(cols, cols))
