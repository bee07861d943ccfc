"""The parts that residual networks share (He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR
2016, arXiv 1512.03385).

    block:       y = act( BN(conv3x3( act( BN(conv3x3(x)) ) )) + shortcut(x) )
    bottleneck:  y = act( BN(conv1x1( act( BN(conv3x3( act( BN(conv1x1(x)) ) )) ) )) + shortcut(x) )

The shortcut is the identity where the shape stays. Elsewhere it is a 1x1 convolution with BN ("projection", option B of
the paper), or every other pixel with zeros for the channels that are missing ("pad", option A, no parameters).

Not from the paper: a bottleneck has its stride in the 3x3 convolution, as in every later ImageNet code (the paper: in
the first 1x1); `widen` multiplies its inner channels only. The paper does not say on which side the zeros go; here they
follow the channels.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from sparse_ortho.models.activations import activation as activation_module


class Pad(nn.Module):
    """Option A: the identity on every `stride`-th pixel, and `more` channels of zeros."""

    def __init__(self, more: int, stride: int):
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


def shortcut_module(inputs: int, outputs: int, stride: int, kind: str) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    if kind == "pad":
        return Pad(outputs - inputs, stride)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Without a stride given, it is 2 where the channels change."""

    expansion = 1

    def __init__(
        self, inputs: int, outputs: int, activation: str, stride: int | None = None, shortcut: str = "projection"
    ):
        super().__init__()
        stride = stride or (1 if inputs == outputs else 2)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.activation1 = activation_module(activation)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut_module(inputs, outputs, stride, shortcut)
        self.activation2 = activation_module(activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.activation1(self.bn1(self.conv1(x)))))
        return self.activation2(y + self.shortcut(x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(
        self,
        inputs: int,
        outputs: int,
        activation: str,
        stride: int = 1,
        shortcut: str = "projection",
        widen: int = 1,
    ):
        super().__init__()
        inner = outputs // self.expansion * widen
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.activation1 = activation_module(activation)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.activation2 = activation_module(activation)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut_module(inputs, outputs, stride, shortcut)
        self.activation3 = activation_module(activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.activation1(self.bn1(self.conv1(x)))
        y = self.activation2(self.bn2(self.conv2(y)))
        return self.activation3(self.bn3(self.conv3(y)) + self.shortcut(x))


def stack(
    kind: type[nn.Module], inputs: int, stages: Iterable[tuple[int, int, int]], activation: str, **options: object
) -> nn.Sequential:
    """Stages of (outputs, blocks, stride): the first block of a stage strides, the others keep the shape."""
    blocks = nn.Sequential()
    for outputs, count, stride in stages:
        for index in range(count):
            blocks.append(kind(inputs, outputs, activation, 1 if index else stride, **options))
            inputs = outputs
    return blocks


class ResNet(nn.Module):
    """Stem, blocks, the mean over all pixels, head."""

    def __init__(self, conv: nn.Conv2d, pool: nn.Module, blocks: nn.Sequential, fc: nn.Module, activation: str):
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2d(conv.out_channels)
        self.activation = activation_module(activation)
        self.pool = pool
        self.blocks = blocks
        self.fc = fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.pool(self.activation(self.bn(self.conv(x)))))
        return self.fc(x.mean((2, 3)))
