"""Magnitude: a weight is worth |w| (Han, Pool, Tran, Dally, "Learning both Weights and Connections", NeurIPS 2015)."""

from __future__ import annotations

import torch

from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

NEEDS = ("weights",)


def magnitude(probe: Probe, streams: Streams) -> dict[str, torch.Tensor]:
    """|w| of each weight."""
    return {name: weight.detach().abs() for name, weight in probe.weights.items()}
