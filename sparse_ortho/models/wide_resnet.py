"""Wide residual network (Zagoruyko, Komodakis, "Wide Residual Networks", BMVC 2016, arXiv 1605.07146).

    N = 6 D + 4:  conv3x3 of 16;  D blocks each of 16k, 32k, 64k channels, strides 1, 2, 2;  BN, act;  average;  linear
    block (pre-activation):  h = act(BN(x));  y = conv3x3( dropout( act( BN(conv3x3(h)) ) ) ) + shortcut
    shortcut:  x where the channels stay, conv1x1(h) where they change (no BN)

Dropout is 0.3 as in the paper's tables with dropout and in sparse momentum; N = 28, k = 2 has 1,467,610 parameters for
10 classes, 1,463,984 of them in 29 weights. Not from the paper: the global average takes images of any size.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.heads import PooledNet, head
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.limits import at_least, probabilities


class PreactivationBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, activation: str, stride: int, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.activation1 = activation_module(activation)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.activation2 = activation_module(activation)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.activation1(self.bn1(x))
        y = self.conv2(self.dropout(self.activation2(self.bn2(self.conv1(h)))))
        return y + (x if self.shortcut is None else self.shortcut(h))


def wide_resnet(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: int = 28,
    widen: int = 2,
    dropout: float = 0.3,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    """`depth` counts the convolutions on the longest path, and those of the three shortcuts: 10, 16, 22, 28, ..."""
    channels = image_shape(shape, "wide_resnet")[0]
    if depth < 10 or depth % 6 != 4:
        raise UserError("model.depth", "must be 6 D + 4", found=depth, allowed="10, 16, 22, 28, 34, 40, ...")
    at_least(1, widen=widen)
    probabilities(dropout=dropout)
    features, inputs = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, bias=False)), 16
    for outputs, first in ((16 * widen, 1), (32 * widen, 2), (64 * widen, 2)):
        for index in range((depth - 4) // 6):
            features.append(PreactivationBlock(inputs, outputs, activation, 1 if index else first, dropout))
            inputs = outputs
    features.extend([nn.BatchNorm2d(inputs), activation_module(activation)])
    return PooledNet(features, head(inputs, classes))
