"""Kaiming normal around another mean ("plus_kaiming_normal" in the released code of EOI).

    w ~ N(mean, gain^2 / n),   n the fan-in of the dense layer

With mean 1, as released, every output is about the sum of its inputs: what a network does without any care for scale.
Masks are not read.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sparse_ortho.inits.kaiming import kaiming
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def kaiming_plus(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.4142135623730951,
    mean: float = 1.0,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    weights, kept = kaiming(probe, masks, streams, gain=gain)
    return {name: weight + mean for name, weight in weights.items()}, kept
