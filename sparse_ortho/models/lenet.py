"""LeNets of the pruning literature (LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
recognition", Proc. IEEE 1998), in the forms that Caffe made the reference.

    LeNet-300-100:  x -> 300 -> 100 -> logits
    LeNet-5:        conv5x5 of 20, max-pool 2, conv5x5 of 50, max-pool 2, linear layer of 500, logits

Without padding, with biases, an activation after every layer but the last. 266,610 and 431,080 parameters on MNIST. Not
from the paper: ReLU, full connections between maps, one activation where Caffe's LeNet-5 has none after a convolution;
the sizes of the first linear layers follow the input.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Literal

from torch import nn

from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.mlp import MLP


def lenet300_100(
    shape: tuple[int, ...],
    classes: int,
    *,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    return MLP((math.prod(shape), 300, 100, classes), activation)


def lenet5(
    shape: tuple[int, ...],
    classes: int,
    *,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    channels, *sides = image_shape(shape, "lenet5", least=16)  # 16 -> 12 -> 6 -> 2 -> 1
    height, width = (((side - 4) // 2 - 4) // 2 for side in sides)
    layers = {
        "conv1": nn.Conv2d(channels, 20, 5),
        "activation1": activation_module(activation),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(20, 50, 5),
        "activation2": activation_module(activation),
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(50 * height * width, 500),
        "activation3": activation_module(activation),
        "fc2": nn.Linear(500, classes),
    }
    return nn.Sequential(OrderedDict(layers))
