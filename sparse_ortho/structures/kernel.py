"""Whole kernels: all taps of kernel (i, j) of a convolution, from input channel j to output channel i, live or die
together (kernel-wise pruning: Mao et al., "Exploring the Regularity of Sparse Structure in Convolutional Neural
Networks", 2017, arXiv 1705.08922; in initialisations SAO and EOI's structured form).

    score of a kernel = sum of its weights' scores        a linear layer's kernels are its weights

Not from the papers: where kernels of several sizes compete they do so per weight (see `units`).
"""

from __future__ import annotations

import math

import numpy as np

from sparse_ortho.structures.units import Units

UNIT = "kernel"


def kernel(scores: np.ndarray, groups: int) -> Units:
    """One unit an output and input channel of its group."""
    shape = scores.shape
    number = np.arange(math.prod(shape[:2])).reshape(*shape[:2], *[1] * (len(shape) - 2))
    return Units(np.broadcast_to(number, shape), shape[:2])
