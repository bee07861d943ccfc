"""Signed constants (Ramanujan, Wortsman, Kembhavi, Farhadi, Rastegari, "What's Hidden in a Randomly Weighted Neural
Network?", CVPR 2020, arXiv 1911.13299; "binary" in the released code of EOI).

    w = +- gain / sqrt(n),   both signs equally likely,   n the fan-in of the dense layer

The variance is that of Kaiming; "layer" is the scaled constant of the paper, see `inits.fans` for all of `fan_in`. The
released code of EOI takes the standard deviation of the weights it has drawn, which is this but for sampling noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from sparse_ortho.inits.fans import fans
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def binary(
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
        signs = torch.from_numpy(streams("init", name).choice([-1.0, 1.0], probe.shapes[name]))
        weights[name] = (signs * (gain / n.sqrt())).float()
    return weights, dict(masks)
