"""Two Gaussian modes with the variance of Kaiming ("scaled_bimodal_kaiming_normal" in the released code of EOI).

    w = s m + sqrt(gain^2 / n - m^2) z,   s = +-1,  z ~ N(0, 1),   m = mode * gain / sqrt(n),   n the dense fan-in

mode 0 is Kaiming, mode 1 is `binary`; the default puts the modes where the released code does for ReLU, at
+-sqrt(1.5 / n). Not from it: `mode` is relative to the gain, so the variance cannot become negative (theirs does for
gain^2 < 1.5); the unscaled variant there throws its modes away, and is Kaiming. `fan_in` as in `inits.fans`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.inits.fans import fans
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def bimodal(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.4142135623730951,
    mode: float = 0.8660254037844386,
    fan_in: Literal["dense", "layer", "global", "neuron"] = "dense",
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    if not 0 <= mode <= 1:
        raise UserError("inits.bimodal: mode", "out of range", found=mode, allowed="[0, 1]")
    weights = {}
    for name, n in fans(probe, masks, fan_in).items():
        rng, shape = streams("init", name), probe.shapes[name]
        drawn = mode * rng.choice([-1.0, 1.0], shape) + math.sqrt(1 - mode**2) * rng.standard_normal(shape)
        weights[name] = (torch.from_numpy(drawn) * (gain / n.sqrt())).float()
    return weights, dict(masks)
