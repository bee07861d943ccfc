"""The five-convolution network that the released program of EOI (Nowak et al., ICML 2024, arXiv 2406.01755) names
ConvNet_CIFAR10 and trains nowhere; after F. Chollet, "Deep Learning with Python", section 8.2.

    conv3x3 of 32, 64, 128, 256, each with max-pool 2;  conv3x3 of 256;  linear layer from all of its map to logits

With a border of zeros and biases, an activation after every convolution: 988,746 parameters for 10 classes of colour
images of 32 x 32. Not from there: logits instead of their logarithmic softmax, and other activations than ReLU.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.images import image_shape

WIDTHS = (32, 64, 128, 256, 256)


def chollet_convnet(
    shape: tuple[int, ...],
    classes: int,
    *,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    channels, height, width = image_shape(shape, "chollet_convnet", least=16)  # 16 -> 8 -> 4 -> 2 -> 1
    layers: dict[str, nn.Module] = {}
    for i, (inputs, outputs) in enumerate(zip((channels, *WIDTHS), WIDTHS, strict=False), 1):
        layers[f"conv{i}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
        layers[f"activation{i}"] = activation_module(activation)
        if i < len(WIDTHS):
            layers[f"pool{i}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(WIDTHS[-1] * (height // 16) * (width // 16), classes)
    return nn.Sequential(OrderedDict(layers))
