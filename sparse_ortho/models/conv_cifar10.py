"""The three-convolution network of the released program of EOI (Nowak et al., ICML 2024, arXiv 2406.01755).

    conv3x3 of 32, max-pool 2, conv3x3 of 64, max-pool 2, conv3x3 of 128, average over the map, linear layer to logits

Without padding, with biases, an activation after every convolution: 94,538 parameters for 10 classes of colour images.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.images import image_shape


def conv_cifar10(
    shape: tuple[int, ...],
    classes: int,
    *,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    channels, _, _ = image_shape(shape, "conv_cifar10", least=18)  # 18 -> 16 -> 8 -> 6 -> 3 -> 1
    layers = {
        "conv1": nn.Conv2d(channels, 32, 3),
        "activation1": activation_module(activation),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(32, 64, 3),
        "activation2": activation_module(activation),
        "pool2": nn.MaxPool2d(2),
        "conv3": nn.Conv2d(64, 128, 3),
        "activation3": activation_module(activation),
        "average": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(128, classes),
    }
    return nn.Sequential(OrderedDict(layers))
