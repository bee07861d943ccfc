"""Outputs scaled by their own active inputs (Evci, Ioannou, Keskin, Dauphin, "Gradient Flow in Sparse Neural Networks
and How Lottery Tickets Win", AAAI 2022, arXiv 2010.03533; "sparse_fan_in" in the released code of EOI).

    normal:   w_ij ~ N(0, gain^2 / n_i),                 n_i the active weights of output i;  gain = sqrt(2) for ReLU
    uniform:  w_ij ~ U(-b_i, b_i),  b_i = gain * sqrt(3 / n_i)

The released code draws uniformly with b_i = 1 / sqrt(n_i): distribution uniform, gain 0.577. It draws masked weights
too, so that its first forward pass is dense; here they are 0 from the start. Masks stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch

from sparse_ortho.inits.fans import fans
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def sparse_fan_in(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.4142135623730951,
    distribution: Literal["normal", "uniform"] = "normal",
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    weights = {}
    for name, n in fans(probe, masks, "neuron").items():
        rng, shape = streams("init", name), probe.shapes[name]
        uniform = distribution == "uniform"
        drawn = rng.uniform(-math.sqrt(3.0), math.sqrt(3.0), shape) if uniform else rng.standard_normal(shape)
        weights[name] = (torch.from_numpy(drawn) * masks[name] * (gain / n.sqrt())).float()
    return weights, dict(masks)
