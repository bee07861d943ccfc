"""Kaiming normal whose variance knows the mask (Liu, Sun, Zhou, Huang, Darrell, "Rethinking the Value of Network
Pruning", ICLR 2019, arXiv 1810.05270; "scaled_kaiming_normal" in the released code of EOI).

    w ~ N(0, gain^2 / (n d)),   n the fan-in of the dense layer,  d the density of the layer, or of all together

With "layer" the mean square of what a layer puts out is that of the dense one, whatever its density; "global" is what
the released code does, which gives dense layers of an ERK mask too much. Masks stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from sparse_ortho.inits.fans import fans
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def kaiming_scaled(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.4142135623730951,
    fan_in: Literal["layer", "global"] = "layer",
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    weights = {}
    for name, n in fans(probe, masks, fan_in).items():
        normal = torch.from_numpy(streams("init", name).standard_normal(probe.shapes[name]))
        weights[name] = (normal * (gain / n.sqrt())).float()
    return weights, dict(masks)
