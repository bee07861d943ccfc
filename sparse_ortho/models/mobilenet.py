"""MobileNet (Howard et al., arXiv 1704.04861) and MobileNetV2 (Sandler et al., CVPR 2018, arXiv 1801.04381).

    V1:  conv3x3 of 32, stride 2;  13 times act(BN(depthwise 3x3)), act(BN(conv1x1)) up to 1024;  average;  linear
    V2:  conv3x3 of 32, stride 2;  17 inverted bottlenecks up to 320;  conv1x1 to 1280;  average;  dropout;  linear

4,231,976 and 3,504,872 parameters for 1000 classes. `width` is the papers' multiplier: all channels but the last ones
of V2 below 1, as multiples of 8. V1 uses ReLU and V2 ReLU6 with dropout 0.2 unless an option says otherwise. Not from
the papers: the stem "cifar" has stride 1; `head: conv` as STR has it (`heads.py`).
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.activations import ACTIVATIONS
from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.heads import PooledNet
from sparse_ortho.models.heads import head as head_module
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.inverted import MakeActivation, Stage, convolution, divisible, inverted_stack
from sparse_ortho.models.limits import one_of, probabilities

V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
V2 = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 3, 2, 32, 3),
    Stage(6, 3, 2, 64, 4),
    Stage(6, 3, 1, 96, 3),
    Stage(6, 3, 2, 160, 3),
    Stage(6, 3, 1, 320, 1),
)


def separable(inputs: int, outputs: int, stride: int, make: MakeActivation) -> nn.Sequential:
    """A depthwise and a pointwise convolution."""
    depthwise = convolution(inputs, inputs, 3, stride, groups=inputs, activation=make())
    return nn.Sequential(depthwise, convolution(inputs, outputs, 1, activation=make()))


def first_version(inputs: int, width: float, make: MakeActivation) -> tuple[list[nn.Module], int]:
    blocks = nn.Sequential()
    for outputs, stride in V1:
        blocks.append(separable(inputs, divisible(outputs * width), stride, make))
        inputs = divisible(outputs * width)
    return [blocks], inputs


def second_version(inputs: int, width: float, make: MakeActivation) -> tuple[list[nn.Module], int]:
    stages = [Stage(s.expand, s.kernel, s.stride, divisible(s.outputs * width), s.blocks) for s in V2]
    last = divisible(1280 * max(1.0, width))
    return [inverted_stack(inputs, stages, make), convolution(stages[-1].outputs, last, 1, activation=make())], last


def mobilenet(
    shape: tuple[int, ...],
    classes: int,
    *,
    version: Literal[1, 2] = 1,
    width: float = 1.0,
    stem: Literal["cifar", "imagenet"] = "imagenet",
    dropout: float | None = None,
    head: Literal["linear", "conv"] = "linear",
    head_bias: bool = True,
    activation: Literal["relu6", "linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] | None = None,
) -> nn.Module:
    """`dropout` and `activation` are those of the version if not given."""
    channels = image_shape(shape, "mobilenet")[0]
    one_of((1, 2), version=version)
    one_of(("cifar", "imagenet"), stem=stem)
    one_of(("linear", "conv"), head=head)
    if width <= 0:
        raise UserError("model.width", "must be positive", found=width)
    dropout = (0.2 if version == 2 else 0.0) if dropout is None else dropout
    probabilities(dropout=dropout)
    name = activation or ("relu6" if version == 2 else "relu")
    one_of(("relu6", *ACTIVATIONS), activation=name)

    def make() -> nn.Module:
        return nn.ReLU6() if name == "relu6" else activation_module(name)

    first = divisible(32 * width)
    entry = convolution(channels, first, 3, 1 if stem == "cifar" else 2, activation=make())
    parts, last = (first_version if version == 1 else second_version)(first, width, make)
    return PooledNet(nn.Sequential(entry, *parts), head_module(last, classes, head, head_bias), dropout)
