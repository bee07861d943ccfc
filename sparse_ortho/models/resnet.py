"""Residual network for small images (He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
arXiv 1512.03385, section 4.2).

    N = 6 D + 2:  conv3x3 of W;  D basic blocks each of W, 2W, 4W channels;  global average;  linear layer to logits
    block:  y = act( BN(conv3x3( act( BN(conv3x3(x)) ) )) + shortcut(x) ),  stride 2 where the channels double

Not from the paper: the shortcut is a projection (1x1 convolution with stride 2, then BN) where the channels double, as
in the sparse-training literature, and the identity elsewhere; the paper pads with zeros there. N = 20 has 272,474
parameters for 10 classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.activations import activation as activation_module


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, activation: str):
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.activation1 = activation_module(activation)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride == 2:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))
        self.activation2 = activation_module(activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.activation1(self.bn1(self.conv1(x)))))
        return self.activation2(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, channels: int, classes: int, blocks: int, width: int, activation: str):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.activation = activation_module(activation)
        widths = [width] + [w for w in (width, 2 * width, 4 * width) for _ in range(blocks)]
        self.blocks = nn.Sequential(*(Block(a, b, activation) for a, b in zip(widths, widths[1:], strict=False)))
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.activation(self.bn(self.conv(x))))
        return self.fc(x.mean((2, 3)))


def cifar_resnet(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: int = 20,
    width: int = 16,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    """`depth` counts the layers with weights on the longest path: 8, 14, 20, ..."""
    if len(shape) != 3:
        raise UserError("model", "resnet takes images of channels x height x width", found=tuple(shape))
    if depth < 8 or depth % 6 != 2:
        raise UserError("model.depth", "must be 6 D + 2", found=depth, allowed="8, 14, 20, 26, 32, ...")
    if width < 1:
        raise UserError("model.width", "must be at least 1", found=width)
    return ResNet(shape[0], classes, (depth - 2) // 6, width, activation)
