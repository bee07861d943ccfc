"""The vanilla convolutional network of Xiao, Bahri, Sohl-Dickstein, Schoenholz, Pennington, "Dynamical Isometry and a
Mean Field Theory of CNNs", ICML 2018, arXiv 1806.05393, in the form of its public PyTorch reproduction.

    three convolutions with strides 1, 2, 2, then N convolutions, the N/2-th and the last with stride 2;  logits

All convolutions have W channels, 3x3 kernels, zero padding 1 and a bias, and are followed by an activation; a linear
layer reads the last map, 2 x 2 for 32 x 32 images. N = 32 at W = 128 has 5,026,570 parameters. The reproduction offers
N = 4, 8, 12, 16, 32, 128, 256, 512, 768, 1024 and tanh or relu; any even N is taken here.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.deep_conv import PlainConvolutions
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.limits import at_least


def vanilla(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: int = 32,
    width: int = 128,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "tanh",
) -> nn.Module:
    """`depth` counts the convolutions after the first three."""
    image = image_shape(shape, "vanilla")
    if depth < 4 or depth % 2:
        raise UserError("model.depth", "must be even and at least 4", found=depth)
    at_least(1, width=width)
    strides = [1] * depth
    strides[depth // 2 - 1] = strides[-1] = 2
    return PlainConvolutions(
        image,
        classes,
        width=width,
        strides=[1, 2, 2, *strides],
        padding="zeros",
        average=1,
        activation=activation,
    )
