"""VGG for small images with one linear layer (Liu et al., "The Unreasonable Effectiveness of Random Pruning", ICLR
2022, arXiv 2202.02643); after Simonyan, Zisserman, ICLR 2015, arXiv 1409.1556.

    five blocks of conv3x3 of 64, 128, 256, 512, 512 channels;  max-pool 2 after the first four;  average;  linear layer
    depth 11: 1 1 2 2 2 convolutions a block, 13: 2 2 2 2 2, 16: 2 2 3 3 3, 19: 2 2 4 4 4

Each convolution is followed by batch normalisation and an activation, and has no bias; without normalisation it has
one. The average is over the whole last map: 2 x 2 for 32 x 32 images, 4 x 4 for 64 x 64. Depths 11, 13, 16, 19 have
9,228,362, 9,413,066, 14,724,042 and 20,035,018 parameters for 10 classes. Not from the released program of EOI: it
gives all activations of this network one name, so that only one is left.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal

from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.images import image_shape

WIDTHS = (64, 128, 256, 512, 512)
COUNTS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def blocks(
    channels: int, depth: int, activation: str, *, norm: bool, bias: bool, third: int = 3
) -> Iterator[tuple[str, nn.Module]]:
    """The convolutional part, named as in the paper (conv3_1, ...), a max-pool at the end of each block.

    `third` is the kernel of the third convolution of a block.
    """
    if depth not in COUNTS:
        raise UserError("model.depth", "must be one of the VGG networks", found=depth, allowed=COUNTS)
    for block, (count, width) in enumerate(zip(COUNTS[depth], WIDTHS, strict=True), 1):
        for i in range(1, count + 1):
            yield f"conv{block}_{i}", nn.Conv2d(channels, width, third if i == 3 else 3, padding=1, bias=bias)
            if norm:
                yield f"bn{block}_{i}", nn.BatchNorm2d(width)
            yield f"activation{block}_{i}", activation_module(activation)
            channels = width
        yield f"pool{block}", nn.MaxPool2d(2)


def vgg(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: int = 16,
    norm: bool = True,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    channels, _, _ = image_shape(shape, "vgg", least=16)
    layers = OrderedDict(blocks(channels, depth, activation, norm=norm, bias=not norm))
    layers["pool5"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(WIDTHS[-1], classes)
    return nn.Sequential(layers)
