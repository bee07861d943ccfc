"""The repair of the program beside Gadhikar, Mukherjee, Burkholz (ICML 2023, arXiv 2210.02412; flow preservation).

    each tensor alone:  a random weight into every output without one,  then into every input that had none before

Nothing is taken away, so the density grows. Of a convolution only a single dead input is repaired: with two or more the
program writes into a copy. The pixels and the sums of shortcuts are treated like any unit.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

NEUTRAL = False  # the number of weights grows


def units_as_released(
    probe: Probe, kept: Mapping[str, torch.Tensor], scores: Mapping[str, torch.Tensor], streams: Streams
) -> dict[str, torch.Tensor]:
    """Masks with more weights."""
    made = {}
    for name, mask in kept.items():
        rng, flat = streams("mask", f"{name}/repair"), mask.reshape(len(mask), mask.shape[1], -1).clone()
        rows, columns = ((~flat.any(2).any(axis)).nonzero().flatten().tolist() for axis in (1, 0))
        for row in rows:
            flat[row].view(-1)[int(rng.integers(flat[row].numel()))] = True
        if mask.ndim == 2 or len(columns) == 1:
            for column in columns:
                flat[int(rng.integers(len(flat))), column, int(rng.integers(flat.shape[2]))] = True
        made[name] = flat.reshape(mask.shape)
    return made
