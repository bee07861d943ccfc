"""DenseNet-121, 169 and 201 (Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR
2017, arXiv 1608.06993, table 1; with bottlenecks and compression, "BC").

    stem of 2k;  four blocks of dense layers, a transition after each but the last;  BN, act;  global average;  linear
    dense layer:  x <- [x, conv3x3( act( BN( conv1x1( act(BN(x)) ) ) ) )]  with 4k channels inside and k new ones
    transition:   conv1x1 to half of the channels of act(BN(x)), average pool 2x2
    stem "imagenet":  conv7x7 stride 2, BN, act, max pool 3x3 stride 2;    stem "cifar":  conv3x3, BN, act

k is the growth, 32. DenseNet-121 has 7,978,856 parameters for 1000 classes. Not from the paper: its "cifar" stem has
neither BN nor activation, and its nets for small images have three blocks.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.heads import PooledNet, head
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.limits import at_least, one_of, probabilities

BLOCKS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
SMALLEST = {"cifar": 8, "imagenet": 29}  # three average pools halve what the stem leaves, which must be 8 pixels


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int, activation: str, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.activation1 = activation_module(activation)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.activation2 = activation_module(activation)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(self.activation1(self.bn1(x)))
        y = self.conv2(self.activation2(self.bn2(y)))
        return torch.cat([x, self.dropout(y)], 1)


def entry(channels: int, width: int, stem: str, activation: str) -> list[nn.Module]:
    rest = [nn.BatchNorm2d(width), activation_module(activation)]
    if stem == "cifar":
        return [nn.Conv2d(channels, width, 3, padding=1, bias=False), *rest]
    return [nn.Conv2d(channels, width, 7, 2, padding=3, bias=False), *rest, nn.MaxPool2d(3, 2, padding=1)]


def densenet(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: Literal[121, 169, 201] = 121,
    growth: int = 32,
    stem: Literal["cifar", "imagenet"] = "imagenet",
    dropout: float = 0.0,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    """`depth` counts the layers with weights on the longest path; `dropout` follows every 3x3 convolution."""
    one_of(BLOCKS, depth=depth)
    one_of(SMALLEST, stem=stem)
    channels = image_shape(shape, f"densenet with the {stem} stem", SMALLEST[stem])[0]
    at_least(1, growth=growth)
    probabilities(dropout=dropout)
    width = 2 * growth
    features = nn.Sequential(*entry(channels, width, stem, activation))
    for position, count in enumerate(BLOCKS[depth]):
        for _ in range(count):
            features.append(DenseLayer(width, growth, activation, dropout))
            width += growth
        features.extend([nn.BatchNorm2d(width), activation_module(activation)])
        if position < 3:
            features.extend([nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)])
            width //= 2
    return PooledNet(features, head(width, classes))
