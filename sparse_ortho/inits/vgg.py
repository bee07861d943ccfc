"""What the released VGG networks of this field start from (convolutions: He, Zhang, Ren, Sun, ICCV 2015, arXiv
1502.01852; linear layers: Simonyan, Zisserman, "Very Deep Convolutional Networks", ICLR 2015, arXiv 1409.1556).

    convolution:  w ~ N(0, 2 / n),  n = k^2 c_in / groups, the inputs of an output;     linear:  w ~ N(0, 0.01^2)

The variance of a linear layer does not depend on its width, which is for networks with normalisation. Masks are not
read: a sparse layer keeps the dense variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

LINEAR_STD = 0.01


def vgg(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    weights = {}
    for name, shape in probe.shapes.items():
        std = LINEAR_STD if len(shape) == 2 else math.sqrt(2 / math.prod(shape[1:]))
        weights[name] = torch.from_numpy(streams("init", name).standard_normal(shape) * std).float()
    return weights, dict(masks)
