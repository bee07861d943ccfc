"""AlexNet for small images, as in SNIP (Lee, Ajanthan, Torr, ICLR 2019, arXiv 1810.02340) and sparse momentum
(Dettmers, Zettlemoyer, arXiv 1907.04840); after Krizhevsky, Sutskever, Hinton, NeurIPS 2012.

    conv11 of 96, conv5 of 256, conv3 of 384, 384, 256, all with stride 2;  linear layers of H, H;  logits
    each layer but the last is followed by batch normalisation and an activation

The strides take the place of pooling: 32 -> 13 -> 7 -> 4 -> 2 -> 1. H = 1024 is AlexNet-s (5,077,066 parameters for 10
classes), H = 2048 is AlexNet-b (8,501,322). Not from the papers: larger images give larger maps to the linear layers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.limits import at_least

CONVOLUTIONS = ((96, 11, 2), (256, 5, 2), (384, 3, 1), (384, 3, 1), (256, 3, 1))  # channels, kernel, padding


def alexnet(
    shape: tuple[int, ...],
    classes: int,
    *,
    hidden: int = 1024,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    """`hidden` is the width of both hidden linear layers: 1024 for AlexNet-s, 2048 for AlexNet-b."""
    inputs, *sides = image_shape(shape, "alexnet", least=7)  # 7 + 2 * 2 is the first kernel
    at_least(1, hidden=hidden)
    layers: dict[str, nn.Module] = {}
    for i, (channels, kernel, padding) in enumerate(CONVOLUTIONS, 1):
        layers[f"conv{i}"] = nn.Conv2d(inputs, channels, kernel, stride=2, padding=padding)
        layers[f"bn{i}"] = nn.BatchNorm2d(channels)
        layers[f"activation{i}"] = activation_module(activation)
        sides = [(side + 2 * padding - kernel) // 2 + 1 for side in sides]
        inputs = channels
    layers["flatten"] = nn.Flatten()
    inputs *= sides[0] * sides[1]
    for i in (6, 7):
        layers[f"fc{i}"] = nn.Linear(inputs, hidden)
        layers[f"bn{i}"] = nn.BatchNorm1d(hidden)
        layers[f"activation{i}"] = activation_module(activation)
        inputs = hidden
    layers["fc8"] = nn.Linear(inputs, classes)
    return nn.Sequential(OrderedDict(layers))
