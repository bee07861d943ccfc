"""Sparse orthogonal matrices by random Givens rotations (Nowak, Gniecki, Szatkowski, Tabor, "Sparser, Better, Deeper,
Stronger: Improving Static Sparse Training with Exact Orthogonal Initialization", ICML 2024, arXiv 2406.01755).

    A_0 = [I | 0],  A_{t+1} = A_t G(i, j, phi),   {i, j} uniform among all pairs of columns (zero ones too),
    phi ~ U(0, 2 pi),   while the density is under the one asked for

Rotations keep A A^T = I, and both columns get the union of their supports. A tall matrix is a wide one transposed.
Where it stops:  "nearer"  the side nearer to the number of nonzeros, as in the paper;
"under"  the last matrix at or under it, which keeps a budget;
"predicted"  after as many rotations as make the expected density nearest (`linalg.chain`), without looking;
"exact"  at the number itself: where the next rotation would pass it, the last 0, 1, 2, 4, ... are taken back and pairs
are drawn again among those that do not. Every number that an orthogonal matrix can have is reached so, with
probability one; what no matrix has (`linalg.counts`) is refused.

Not from the paper: all of these but the first. `shuffle` permutes rows and columns and draws a sign for each: without
it entries (i, i) are nonzero at any density, and in a wide matrix the same columns may stay empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.sparse import coo_array, csr_array, eye_array

from sparse_ortho import budgets
from sparse_ortho.errors import UserError
from sparse_ortho.linalg.chain import expected_rotations
from sparse_ortho.linalg.counts import impossible
from sparse_ortho.linalg.rotations import BLOCK, DENSE, Rotations, draw, on_arrays, on_sparse, supports_after
from sparse_ortho.streams import stream

TOGETHER = 1 << 17  # entries of small matrices that are made together: 1 MiB stays in the cache
Stop = Literal["under", "nearer", "predicted", "exact"]


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
    rows: int,
    cols: int,
    density: float,
    *,
    seed: int,
    exact: bool = False,
    stop: Stop = "under",
    shuffle: bool = False,
) -> tuple[csr_array, Info]:
    """A random sparse matrix with orthonormal rows (tall: columns); `exact` is short for `stop="exact"`."""
    budget = budgets.budget(density, rows * cols)
    rng = stream(seed, "init", f"{rows}x{cols}")
    matrix, rotations = rotate_to(rows, cols, budget, rng, stop="exact" if exact else stop, shuffle=shuffle)
    return matrix, Info(matrix.nnz / (rows * cols), matrix.nnz, rotations, matrix)


def rotate_to(
    rows: int, cols: int, nonzeros: float, rng: np.random.Generator, *, stop: Stop = "under", shuffle: bool = False
) -> tuple[csr_array, int]:
    """A matrix with about `nonzeros` nonzeros, as `stop` says, and its number of rotations."""
    rotations = _rotations(rows, cols, nonzeros, rng, stop)
    matrix = on_sparse(min(rows, cols), max(rows, cols), rotations)
    if rows > cols:
        matrix = csr_array(matrix.T)
    return shuffled(matrix, rng) if shuffle else matrix, len(rotations)


def rotated_arrays(
    rows: int, cols: int, counts: Sequence[int], rngs: Sequence[np.random.Generator], *, shuffle: bool = False
) -> list[np.ndarray]:
    """The matrices of `rotate_to`, the same whatever the others, as arrays; small ones some at a time."""
    each = list(zip(counts, rngs, strict=True))
    if shuffle or rows * cols > DENSE:
        return [rotate_to(rows, cols, count, rng, shuffle=shuffle)[0].toarray() for count, rng in each]
    sequences = [_rotations(rows, cols, count, rng, "under") for count, rng in each]
    (narrow, wide), some = sorted((rows, cols)), max(1, TOGETHER // (rows * cols))
    made = [on_arrays(narrow, wide, sequences[n : n + some]) for n in range(0, len(sequences), some)]
    return [matrix if rows <= cols else matrix.T for part in made for matrix in part]


def _rotations(rows: int, cols: int, nonzeros: float, rng: np.random.Generator, stop: Stop) -> Rotations:
    """Those of the wide orientation."""
    (narrow, wide), size = sorted((rows, cols)), rows * cols
    if not narrow <= nonzeros <= size:
        raise UserError(
            "density",
            f"no orthogonal {rows} x {cols} matrix (or its transpose) has {nonzeros:g} nonzeros",
            found=float(f"{nonzeros / size:.6g}"),
            allowed=f"[{narrow / size:.6g}, 1] ({narrow} to {size} nonzeros)",
        )
    if stop == "exact":
        return _exactly(narrow, wide, int(nonzeros), rng)
    if stop == "predicted" and nonzeros < size:
        count = round(expected_rotations(rows, cols, nonzeros / size))
        return Rotations.join([draw(wide, rng) for _ in range(0, count, BLOCK)]).take(slice(count))
    return _until(narrow, wide, nonzeros - narrow, rng, nearer=stop == "nearer")


def _until(rows: int, cols: int, missing: float, rng: np.random.Generator, *, nearer: bool = False) -> Rotations:
    """Rotations up to the first one that adds more nonzeros than are missing, or with it where that is nearer."""
    supports, blocks = supports_after(rows, cols), []
    while missing > 0:
        block, kept = draw(cols, rng), 0
        for i, j in block.pairs():
            added = (supports[i] ^ supports[j]).bit_count()  # |S_i u S_j| * 2 - |S_i| - |S_j|
            if added >= missing:  # of two equally near sides the denser
                kept += added == missing or (nearer and added <= 2 * missing)
                missing = 0
                break
            supports[i] = supports[j] = supports[i] | supports[j]
            missing -= added
            kept += 1
        blocks.append(block.take(slice(kept)))
    return Rotations.join(blocks)


def _exactly(rows: int, cols: int, nonzeros: int, rng: np.random.Generator) -> Rotations:
    """Rotations that end at `nonzeros`: the random ones up to it, as many as can stay, and drawn ones that fit."""
    if nonzeros in (never := impossible(rows, cols)):
        near = [n for n in range(nonzeros - 3, nonzeros + 4) if rows <= n <= rows * cols and n not in never]
        raise UserError(
            "density",
            f"no orthogonal {rows} x {cols} matrix has exactly {nonzeros} nonzeros, however it is made",
            found=float(f"{nonzeros / (rows * cols):.6g}"),
            allowed=f"{', '.join(map(str, near))} nonzeros, or any other number from {rows} to {rows * cols} "
            f"but {', '.join(map(str, never))}",
        )
    while True:
        sequence = _until(rows, cols, nonzeros - rows, rng)
        taken_back = 0
        while taken_back <= len(sequence):
            kept = sequence.take(slice(len(sequence) - taken_back))
            supports = supports_after(rows, cols, kept)
            rest = _close(supports, nonzeros - sum(s.bit_count() for s in supports), rng)
            if rest is not None:
                return Rotations.join([kept, *rest])
            taken_back = max(1, 2 * taken_back)


def _close(supports: list[int], missing: int, rng: np.random.Generator) -> list[Rotations] | None:
    """Rotations that add exactly what is missing, of `BLOCK` tries the first that does, else the first that fits."""
    sequence = []
    while missing:
        block, fitting = draw(len(supports), rng), {}
        for which, (i, j) in enumerate(block.pairs()):
            added = (supports[i] ^ supports[j]).bit_count()
            if 0 < added <= missing:
                fitting.setdefault(added, which)
        if not fitting:
            return None
        added = missing if missing in fitting else next(iter(fitting))
        chosen = block.take([fitting[added]])
        ((i, j),) = chosen.pairs()
        supports[i] = supports[j] = supports[i] | supports[j]
        sequence.append(chosen)
        missing -= added
    return sequence


def shuffled(matrix: csr_array, rng: np.random.Generator) -> csr_array:
    """Rows and columns in random order, each with a random sign."""
    entries = coo_array(matrix)
    values, places = entries.data, []
    for side, place in enumerate(entries.coords):
        values = values * rng.choice([-1.0, 1.0], entries.shape[side])[place]  # pyright: ignore[reportOptionalSubscript]
        places.append(rng.permutation(entries.shape[side])[place])  # pyright: ignore[reportOptionalSubscript]
    mixed = csr_array(coo_array((values, tuple(places)), shape=entries.shape))
    mixed.sort_indices()
    return mixed
