"""Kaiming normal (He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, arXiv 1502.01852).

    w ~ N(0, gain^2 / n),   n the fan-in of the dense layer,   gain = sqrt(2) for ReLU

Masks are not read: a sparse layer keeps the dense variance, as in most of the literature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def kaiming(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, *, gain: float = 1.4142135623730951
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    weights = {}
    for name, shape in probe.shapes.items():
        std = gain / math.sqrt(math.prod(shape[1:]))
        weights[name] = torch.from_numpy(streams("init", name).standard_normal(shape) * std).float()
    return weights, dict(masks)
