"""Sparse orthogonal matrices by random Givens rotations (Nowak, Gniecki, Szatkowski, Tabor, "Sparser, Better, Deeper,
Stronger: Improving Static Sparse Training with Exact Orthogonal Initialization", ICML 2024, arXiv 2406.01755).

    A_0 = [I | 0],  A_{t+1} = A_t G(i, j, phi):  a_i <- cos(phi) a_i + sin(phi) a_j, a_j <- cos(phi) a_j - sin(phi) a_i

with {i, j} uniform among all pairs of columns (zero ones too) and phi ~ U(0, 2 pi), while the density allows. Rotations
keep A A^T = I, and both columns get the union of their supports. A tall matrix is the transpose of a wide one.

Not from the paper: the last matrix at or under the budget is kept (theirs: the nearer side); `exact`. Which rotations
fit is decided on the supports alone, as bit sets; the numbers follow afterwards, all rotations of disjoint columns in
one sparse product, so that 2048 x 2048 at density 0.05 takes some 16 products and not 5,000 rotations with a recount
each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array, eye_array

from sparse_ortho import budgets
from sparse_ortho.errors import UserError
from sparse_ortho.streams import stream

Rotation = tuple[int, int, float]
BLOCK = 1024  # rotations drawn at once; part of what a seed means
RESTARTS = 20


@dataclass(frozen=True)
class Info:
    """What was reached; `residual` is max |Q Q^T - I| (tall: |Q^T Q - I|), computed when asked for."""

    density: float
    nonzeros: int
    rotations: int
    matrix: Any = field(repr=False, compare=False)  # the csr_array

    @cached_property
    def residual(self) -> float:
        wide = self.matrix.T if self.matrix.shape[0] > self.matrix.shape[1] else self.matrix
        rows = wide.shape[0]
        wide = wide.toarray() if self.density > 0.1 else csr_array(wide)  # 2048 x 2048 at 0.5: 0.4 s by BLAS, else 4.7
        worst = 0.0
        for start in range(0, rows, 256):  # blocks: the product of a sparse matrix with itself is nearly dense
            identity = eye_array(min(256, rows - start), rows, k=start)
            worst = max(worst, float(abs(wide[start : start + 256] @ wide.T - identity).max()))
        return worst


def sparse_orthogonal(
    rows: int, cols: int, density: float, *, seed: int, exact: bool = False
) -> tuple[csr_array, Info]:
    """A random sparse matrix with orthonormal rows (tall: columns) at or under `density`; `exact`: at it or refused."""
    budget = budgets.budget(density, rows * cols)
    matrix, rotations = rotate_to(rows, cols, budget, stream(seed, "init", f"{rows}x{cols}"), exact=exact)
    return matrix, Info(matrix.nnz / (rows * cols), matrix.nnz, rotations, matrix)


def rotate_to(
    rows: int, cols: int, nonzeros_at_most: int, rng: np.random.Generator, *, exact: bool = False
) -> tuple[csr_array, int]:
    """The last matrix of the random sequence with at most that many nonzeros, and its number of rotations."""
    if rows > cols:
        matrix, rotations = rotate_to(cols, rows, nonzeros_at_most, rng, exact=exact)
        return csr_array(matrix.T), rotations
    size = rows * cols
    if not rows <= nonzeros_at_most <= size:
        raise UserError(
            "density",
            f"no orthogonal {rows} x {cols} matrix (or its transpose) has {nonzeros_at_most} nonzeros",
            found=float(f"{nonzeros_at_most / size:.6g}"),
            allowed=f"[{rows / size:.6g}, 1] ({rows} to {size} nonzeros)",
        )
    for _ in range(RESTARTS if exact else 1):
        supports = [1 << row if row < rows else 0 for row in range(cols)]
        sequence, missing = _until(supports, nonzeros_at_most - rows, rng)
        if exact:
            sequence, missing = _finish(supports, sequence, missing, rng)
        if not (exact and missing):
            return _apply(rows, cols, sequence), len(sequence)
    raise UserError(
        "density",
        f"exactly {nonzeros_at_most} nonzeros were not reached for {rows} x {cols} in {RESTARTS} tries: every pair of "
        f"columns left adds more than is missing; leave exact out, or take another density",
    )


def _draw(cols: int, rng: np.random.Generator) -> Iterator[Rotation]:
    """Uniform unordered pairs of columns with uniform angles, without end."""
    while True:
        first = rng.integers(cols, size=BLOCK)
        second = rng.integers(cols - 1, size=BLOCK)
        angle = rng.uniform(0.0, 2.0 * math.pi, size=BLOCK)
        second += second >= first
        # The pair is unordered, so the smaller index always plays i.
        yield from zip(
            np.minimum(first, second).tolist(), np.maximum(first, second).tolist(), angle.tolist(), strict=True
        )


def _until(supports: list[int], missing: int, rng: np.random.Generator) -> tuple[list[Rotation], int]:
    """Rotations up to the first one that adds more nonzeros than are missing; `supports` (bit sets) follow."""
    sequence: list[Rotation] = []
    if missing == 0:
        return sequence, 0
    for rotation in _draw(len(supports), rng):
        i, j, _ = rotation
        added = (supports[i] ^ supports[j]).bit_count()  # |S_i u S_j| * 2 - |S_i| - |S_j|
        if added > missing:
            break
        supports[i] = supports[j] = supports[i] | supports[j]
        sequence.append(rotation)
        missing -= added
        if missing == 0:
            break
    return sequence, missing


def _finish(
    supports: list[int], sequence: list[Rotation], missing: int, rng: np.random.Generator
) -> tuple[list[Rotation], int]:
    """Go on with pairs drawn uniformly among those that add at least one nonzero and at most what is missing."""
    while missing:
        pair = _some_pair(supports, missing, rng)
        if pair is None:
            break
        i, j = pair
        missing -= (supports[i] ^ supports[j]).bit_count()
        supports[i] = supports[j] = supports[i] | supports[j]
        sequence.append((i, j, float(rng.uniform(0.0, 2.0 * math.pi))))
    return sequence, missing


def _some_pair(supports: list[int], missing: int, rng: np.random.Generator) -> tuple[int, int] | None:
    # Trying at random is uniform among the pairs that fit; looking at all M^2 / 2 waits until that has failed.
    tries = _draw(len(supports), rng)
    for _ in range(BLOCK):
        i, j, _ = next(tries)
        if 0 < (supports[i] ^ supports[j]).bit_count() <= missing:
            return i, j
    width = -(-max(s.bit_length() for s in supports) // 64) * 8
    bits = np.frombuffer(b"".join(s.to_bytes(width, "little") for s in supports), dtype=np.uint64)
    bits = bits.reshape(len(supports), -1)  # column x 64-row word
    fits = []
    for i in range(len(supports) - 1):
        added = np.bitwise_count(bits[i + 1 :] ^ bits[i]).sum(axis=1, dtype=np.int64)
        fits.append(np.flatnonzero((added > 0) & (added <= missing)) + i + 1)
    ends = np.cumsum([len(f) for f in fits])
    if not len(ends) or ends[-1] == 0:
        return None
    pick = int(rng.integers(ends[-1]))
    i = int(np.searchsorted(ends, pick, side="right"))
    return i, int(fits[i][pick - ends[i]])


def _apply(rows: int, cols: int, sequence: list[Rotation]) -> csr_array:
    """[I | 0] times all rotations. Those of disjoint columns commute, so each goes into the earliest product it can."""
    ready = [0] * cols
    products: list[list[Rotation]] = []
    for rotation in sequence:
        i, j, _ = rotation
        turn = max(ready[i], ready[j])
        if turn == len(products):
            products.append([])
        products[turn].append(rotation)
        ready[i] = ready[j] = turn + 1
    turned = csr_array((np.ones(rows), (np.arange(rows), np.arange(rows))), shape=(cols, rows))  # A^T: columns are rows
    for product in products:
        turned = _rotation_matrix(cols, product) @ turned
    matrix = csr_array(turned.T)
    matrix.sort_indices()
    return matrix


def _rotation_matrix(cols: int, rotations: list[Rotation]) -> csr_array:
    i, j, angle = (np.array(part) for part in zip(*rotations, strict=True))
    still = np.setdiff1d(np.arange(cols), np.concatenate([i, j]))
    cos, sin = np.cos(angle), np.sin(angle)
    values = np.concatenate([np.ones(len(still)), cos, sin, -sin, cos])
    where = (np.concatenate([still, i, i, j, j]), np.concatenate([still, i, j, i, j]))
    return csr_array(coo_array((values, where), shape=(cols, cols)))


def expected_density(rows: int, cols: int, rotations: int) -> float:
    """E[density] after that many rotations: a row is a pure-birth chain, k -> k + 1 with 2 k (M - k) / (M (M - 1))."""
    most = max(rows, cols)
    k = np.arange(most + 1)
    birth = 2.0 * k * (most - k) / (most * max(1, most - 1))
    chance = np.zeros(most + 1)
    chance[1] = 1.0
    for _ in range(rotations):
        moved = chance * birth
        chance -= moved
        chance[1:] += moved[:-1]
    return float(chance @ k) / most
