"""Explicitly constructed orthogonal convolutions, ECO (Yu, Li, Cao, Kang, Ma, Li, Wei, "Constructing Orthogonal
Convolutions in an Explicit Manner", ICLR 2022; with sparse matrices in SAO, Esguerra et al., IEEE Access 2023).

    K^(f) = A_f,   A_f orthogonal,   A_(-f) = A_f,     K = inverse DFT of A over the k x k frequencies f

so K is real, and the convolution with circular padding on k x k pixels is orthogonal: each frequency is turned by its
own matrix. (k^2 + 1) / 2 matrices are free. On n x n pixels that is a convolution with dilation n / k, which falls into
(n / k)^2 such ones; with another dilation the singular values between those frequencies are not 1. A stride s that
divides k is a convolution of k / s taps on s^2 times the channels, the pixels of each s x s square (space to depth).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np


def eco_kernel(draw: Callable[[], np.ndarray], taps: int, axes: int) -> np.ndarray:
    """(rows, cols, taps, ..., taps) from one orthogonal matrix of `draw` for each pair of frequencies; `taps` odd.

    Where no matrix of `draw` has an entry the kernel has none.
    """
    if taps % 2 == 0:
        raise ValueError(f"{taps} taps have a frequency of their own, which needs no pair")
    found: dict[tuple[int, ...], np.ndarray] = {}
    for frequency in itertools.product(range(taps), repeat=axes):
        opposite = tuple(-part % taps for part in frequency)
        found[frequency] = found[opposite] if opposite in found else draw()
    stacked = np.stack(list(found.values())).reshape(*[taps] * axes, *found[(0,) * axes].shape)
    kernel = np.fft.ifftn(stacked, axes=tuple(range(axes))).real
    return np.ascontiguousarray(np.moveaxis(kernel, (-2, -1), (0, 1)))


def from_depth(kernel: np.ndarray, stride: int) -> np.ndarray:
    """A kernel on s^axes times the channels, (channel, place in the square), as one of s times the taps."""
    rows, depth, *taps = kernel.shape
    axes = len(taps)
    apart = kernel.reshape(rows, depth // stride**axes, *[stride] * axes, *taps)
    order = [0, 1, *(place for axis in range(axes) for place in (2 + axes + axis, 2 + axis))]
    return np.ascontiguousarray(apart.transpose(order).reshape(rows, -1, *[tap * stride for tap in taps]))
