"""Kaiming uniform (He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, arXiv 1502.01852).

    w ~ U(-b, b),   b = gain * sqrt(3 / n),   so that the variance is gain^2 / n;   gain = sqrt(2) for ReLU

n is the fan-in of the dense layer; not from the paper: `fan_in` counts active weights instead, see `inits.fans`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch

from sparse_ortho.inits.fans import fans
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def kaiming_uniform(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.4142135623730951,
    fan_in: Literal["dense", "layer", "global", "neuron"] = "dense",
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    weights = {}
    for name, n in fans(probe, masks, fan_in).items():
        uniform = torch.from_numpy(streams("init", name).uniform(-1.0, 1.0, probe.shapes[name]))
        weights[name] = (uniform * (gain * math.sqrt(3.0) / n.sqrt())).float()
    return weights, dict(masks)
