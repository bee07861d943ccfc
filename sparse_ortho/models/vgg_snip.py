"""The VGG-16 variants of SNIP (Lee, Ajanthan, Torr, ICLR 2019, arXiv 1810.02340), which sparse momentum and EOI took
over.

    C:     the third convolution of blocks 3, 4, 5 is 1x1 with padding 1;  linear layers 2048 -> 512 -> 512 -> logits
    D:     all convolutions are 3x3;                                       linear layers  512 -> 512 -> 512 -> logits
    like:  as D with one hidden linear layer,                                             512 -> 512 -> logits

Convolutions have biases and are followed by batch normalisation and an activation, hidden linear layers by an
activation and then batch normalisation; max-pool 2 after each block. The padding of C's 1x1 kernels is odd but theirs:
a map grows by 2 (32, pool 16, pool 8, 10, pool 5, 7, pool 3, 5, pool 2), and their counts need it: 11,323,466,
15,255,626 and 14,991,946 parameters for 10 classes. C is the "VGG-16" of EOI. Not from the papers: larger images give
larger maps to the linear layers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.vgg import COUNTS, WIDTHS, blocks

HIDDEN = 512


def vgg_c(
    shape: tuple[int, ...],
    classes: int,
    *,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    return _network(image_shape(shape, "vgg_c", least=4), classes, activation, third=1, hidden=2)


def vgg_d(
    shape: tuple[int, ...],
    classes: int,
    *,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    return _network(image_shape(shape, "vgg_d", least=32), classes, activation, third=3, hidden=2)


def vgg_like(
    shape: tuple[int, ...],
    classes: int,
    *,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    return _network(image_shape(shape, "vgg_like", least=32), classes, activation, third=3, hidden=1)


def _network(image: tuple[int, int, int], classes: int, activation: str, *, third: int, hidden: int) -> nn.Module:
    channels, height, width = image
    layers = OrderedDict(blocks(channels, 16, activation, norm=True, bias=True, third=third))
    layers["flatten"] = nn.Flatten()
    inputs = WIDTHS[-1] * _last_side(height, third) * _last_side(width, third)
    for i in range(1, hidden + 1):
        layers[f"fc{i}"] = nn.Linear(inputs, HIDDEN)
        layers[f"activation6_{i}"] = activation_module(activation)
        layers[f"bn6_{i}"] = nn.BatchNorm1d(HIDDEN)
        inputs = HIDDEN
    layers[f"fc{hidden + 1}"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)


def _last_side(side: int, third: int) -> int:
    for count in COUNTS[16]:
        side = (side + (3 - third if count == 3 else 0)) // 2
    return side
