"""Kernels whose convolution is orthogonal (Xiao, Bahri, Sohl-Dickstein, Schoenholz, Pennington, "Dynamical Isometry and
a Mean Field Theory of CNNs", ICML 2018, arXiv 1806.05393).

    delta (alg. 2):  K(centre) = H, all other taps 0
    block (alg. 1):  K = B_{k-1} * ... * B_1 * H,   B = [PQ, P(I - Q); (I - P)Q, (I - P)(I - Q)]

with H orthogonal, * the convolution of kernels of matrices, P and Q random symmetric projections. With stride 1 and
circular padding ||K x|| = ||x|| if c_out >= c_in, and ||K^T y|| = ||y|| otherwise.

B is [P, I - P] along one axis after [Q, I - Q] along the other, so it is applied an axis at a time, for any number of
axes; a kernel without axes is the matrix H. P and Q are drawn anew for every step, as in the paper: the released code
of EOI draws one pair for all. H and the projections are c x c with c = max(c_in, c_out), of H the first min columns.
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.linalg.haar import haar, projection


def delta_kernel(matrix: np.ndarray, taps: int, axes: int) -> np.ndarray:
    """(rows, cols) -> (rows, cols, taps, ..., taps): `matrix` in the middle, 0 elsewhere; `taps` is odd."""
    if taps % 2 == 0:
        raise ValueError(f"{taps} taps have no middle")
    if axes == 0:
        return np.ascontiguousarray(matrix)
    kernel = np.zeros((*matrix.shape, *[taps] * axes), dtype=matrix.dtype)
    kernel[(..., *[taps // 2] * axes)] = matrix
    return kernel


def block_kernel(rows: int, cols: int, taps: int, axes: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal kernel (rows, cols, taps, ..., taps) that uses all its taps."""
    wide = max(rows, cols)
    kernel = haar(wide, min(rows, cols), rng).reshape(*[1] * axes, wide, -1)  # taps x wide x narrow
    for _ in range(taps - 1):
        for axis in range(axes):
            stays = projection(wide, rng) @ kernel
            nothing = np.zeros_like(np.take(kernel, [0], axis))
            left, right = np.concatenate([stays, nothing], axis), np.concatenate([nothing, kernel - stays], axis)
            kernel = left + right
    kernel = np.moveaxis(kernel, (-2, -1), (0, 1) if rows >= cols else (1, 0))
    return np.ascontiguousarray(kernel)
