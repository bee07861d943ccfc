"""The plain convolutional network of up to thousands of layers of EOI (Nowak et al., ICML 2024, arXiv 2406.01755) and
SAO.

    conv of W channels, two convolutions with stride 2, N - 6 convolutions;  average 2 x 2;  linear layer to logits

All convolutions are 3x3, with circular padding 1 and a bias, and followed by an activation: no normalisation, no skips.
With circular padding an orthogonal kernel makes an orthogonal layer where the stride is 1. N = 1000 has 997
convolutions and one linear layer (the released program counts two that it does not have): 147,017,738 parameters at W =
128 for 32 x 32 images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.limits import at_least


class PlainConvolutions(nn.Module):
    """3x3 convolutions one after another, one of each of `strides`, an activation after each; then a linear layer."""

    def __init__(
        self,
        image: tuple[int, int, int],
        classes: int,
        *,
        width: int,
        strides: Sequence[int],
        padding: Literal["zeros", "circular"],
        average: int,
        activation: str,
    ):
        super().__init__()
        inputs = [image[0]] + [width] * (len(strides) - 1)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, width, 3, stride, padding=1, padding_mode=padding)
            for a, stride in zip(inputs, strides, strict=True)
        )
        self.activations = nn.ModuleList(activation_module(activation) for _ in strides)
        self.pool = nn.AvgPool2d(average)
        height, breadth = (_last_side(side, strides) // average for side in image[1:])
        self.fc = nn.Linear(width * height * breadth, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = activation(layer(x))
        return self.fc(self.pool(x).flatten(1))


def _last_side(side: int, strides: Sequence[int]) -> int:
    for stride in strides:
        side = -(-side // stride)
    return side


def deep_conv(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: int = 32,
    width: int = 128,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "tanh",
) -> nn.Module:
    """`depth` as the paper counts it, two more than there are layers."""
    image = image_shape(shape, "deep_conv", least=5)  # 5 -> 3 -> 2 -> 1
    at_least(6, depth=depth)
    at_least(1, width=width)
    strides = [1, 2, 2] + [1] * (depth - 6)
    return PlainConvolutions(
        image, classes, width=width, strides=strides, padding="circular", average=2, activation=activation
    )
