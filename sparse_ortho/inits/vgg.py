"""What the released VGG networks of this field start from (convolutions: He, Zhang, Ren, Sun, ICCV 2015, arXiv
1502.01852; linear layers: Simonyan, Zisserman, "Very Deep Convolutional Networks", ICLR 2015, arXiv 1409.1556).

    convolution:  w ~ N(0, 2 / n),  n = k^2 c_in / groups, the inputs of an output;     linear:  w ~ N(0, 0.01^2)

The variance of a linear layer does not depend on its width, which is for networks with normalisation. Masks are not
read: a sparse layer keeps the dense variance. `mode` puts convolutions around +-mode * sqrt(2 / n) with the variance
that they have (see `inits.bimodal`); "scaled_bimodal_vgg" of the released code of EOI has sqrt(3) / 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

LINEAR_STD = 0.01


def vgg(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, *, mode: float = 0.0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    if not 0 <= mode <= 1:
        raise UserError("inits.vgg: mode", "out of range", found=mode, allowed="[0, 1]")
    weights = {}
    for name, shape in probe.shapes.items():
        rng, linear = streams("init", name), len(shape) == 2
        drawn = rng.standard_normal(shape)
        if mode and not linear:
            drawn = mode * rng.choice([-1.0, 1.0], shape) + math.sqrt(1 - mode**2) * drawn
        std = LINEAR_STD if linear else math.sqrt(2 / math.prod(shape[1:]))
        weights[name] = torch.from_numpy(drawn * std).float()
    return weights, dict(masks)
