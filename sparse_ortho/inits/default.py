"""What PyTorch gives a layer that nobody initialises (its linear and convolution layers, since 2017).

    w ~ U(-b, b),   b = 1 / sqrt(n),   n the number of inputs of an output (c_in / groups * k * k)

The papers of this field call it "default". Not from PyTorch: biases are 0 here, or drawn as `bias_std` says, as for
every other initialisation; PyTorch draws them from the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def default(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    weights = {}
    for name, shape in probe.shapes.items():
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        weights[name] = torch.from_numpy(streams("init", name).uniform(-bound, bound, shape)).float()
    return weights, dict(masks)
