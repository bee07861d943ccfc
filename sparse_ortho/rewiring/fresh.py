"""Random values for weights that grow, as the program of DSR (Mostafa, Wang, ICML 2019) has them on request.

    linear         N(0, s^2),  s = 1 / sqrt(inputs)
    convolution    N(0, s^2),  s = sqrt(2 / (outputs kh kw))

Drawn on the CPU, as many as there are, in the order of the weights.
"""

from __future__ import annotations

import math

import numpy as np
import torch


def deviation(shape: torch.Size) -> float:
    outputs, inputs, *kernel = shape
    return math.sqrt(2 / (outputs * math.prod(kernel))) if kernel else 1 / math.sqrt(inputs)


def redraw_(weight: torch.Tensor, where: torch.Tensor, rng: np.random.Generator) -> None:
    """New values for the weights that `where` marks."""
    drawn = torch.from_numpy(rng.normal(0, deviation(weight.shape), int(where.sum())))
    weight[where] = drawn.to(weight.device, weight.dtype)
