"""Random positions that leave no unit without a way in and a way out (`ER_flow` and flow preservation in the program
beside Gadhikar, Mukherjee, Burkholz, ICML 2023, arXiv 2210.02412).

    a layer is a matrix of c_out x c_in units; max(c_out, c_in) of its weights, one in every row and every column, come
    before all others, in random order; the others are uniformly random

So a layer of at least max(c_out, c_in) weights has a weight at each of its units, one with fewer covers as many units
as it has weights, and no weight is more likely than another. Channels of a grouped convolution are covered on the side
of its outputs only. The budget stays exact.
Not from the program: it redraws a layer among the channels that the parameter before it reaches, which is another layer
where there are shortcuts, or adds weights to a drawn mask and so misses the budget (by 20 to 40 % at density 0.001).
"""

from __future__ import annotations

import numpy as np
import torch

from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def random_flow(probe: Probe, streams: Streams) -> dict[str, torch.Tensor]:
    """U(0, 1) for each weight, and 1 more for those that cover the units."""
    return {name: torch.from_numpy(_covering(streams("mask", name), shape)) for name, shape in probe.shapes.items()}


def _covering(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    scores = rng.random(shape)
    rows, columns = shape[:2]
    steps = np.arange(max(rows, columns))  # pairs differ, because one of the two indices always does
    taps = scores.reshape(rows, columns, -1)
    places = rng.permutation(rows)[steps % rows], rng.permutation(columns)[steps % columns]
    taps[(*places, rng.integers(taps.shape[2], size=len(steps)))] += 1
    return scores
