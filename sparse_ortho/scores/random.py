"""Random scores: with exact selection, a uniformly random mask of the size asked for.

float64 noise: among 1e6 weights float32 noise has some 30,000 ties, which selection would give to the lowest index.
`exact: false` keeps each weight by itself with the density of its layer (Bernoulli), as released programs do: the
budget is then met in expectation, within some sqrt(sum N_l d_l (1 - d_l)) weights.
"""

from __future__ import annotations

import torch

from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def random(probe: Probe, streams: Streams, *, exact: bool = True) -> dict[str, torch.Tensor]:
    """U(0, 1) for each weight, from a stream of the layer's own."""
    return {name: torch.from_numpy(streams("mask", name).random(shape)) for name, shape in probe.shapes.items()}
