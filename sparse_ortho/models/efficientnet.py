"""EfficientNet-B0, B1, B3 (Tan, Le, ICML 2019, arXiv 1905.11946) and EfficientNetV2-S (ICML 2021, arXiv 2104.00298).

    stem conv3x3 stride 2;  stages of inverted bottlenecks (`inverted.py`; with squeeze-excitation unless fused);
    conv1x1 to 4 times the last channels (V2: 1280);  global average;  dropout;  linear layer
    width factor w, depth factor d:  channels are the multiple of 8 nearest to w c,  blocks ceil(d n)

B0 has 5,288,548 parameters for 1000 classes and 4,263,748 for 200. Dropout and stochastic depth are part of the net and
active in training. Not from the papers: the activation as an option (theirs is SiLU); the stem "cifar" has stride 1;
BN as torchvision has it (momentum 0.1, epsilon 1e-5, V2 1e-3; the papers' code: momentum 0.01 and 1e-3), since that is
what the sparse-training literature trains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import nn

from sparse_ortho.models.activations import ACTIVATIONS
from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.heads import PooledNet, head
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.inverted import Stage, convolution, divisible, inverted_stack
from sparse_ortho.models.limits import one_of, probabilities

V1 = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
V2_S = (
    Stage(1, 3, 1, 24, 2, fused=True),
    Stage(4, 3, 2, 48, 4, fused=True),
    Stage(4, 3, 2, 64, 4, fused=True),
    Stage(4, 3, 2, 128, 6),
    Stage(6, 3, 1, 160, 9),
    Stage(6, 3, 2, 256, 15),
)


@dataclass(frozen=True)
class Variant:
    stages: tuple[Stage, ...]
    stem: int
    dropout: float
    width: float = 1.0
    depth: float = 1.0
    last: int | None = None  # channels before the head; 4 times the last stage if not given
    eps: float = 1e-5


VARIANTS = {
    "b0": Variant(V1, 32, dropout=0.2),
    "b1": Variant(V1, 32, dropout=0.2, depth=1.1),
    "b3": Variant(V1, 32, dropout=0.3, width=1.2, depth=1.4),
    "v2_s": Variant(V2_S, 24, dropout=0.2, last=1280, eps=1e-3),
}


def efficientnet(
    shape: tuple[int, ...],
    classes: int,
    *,
    variant: Literal["b0", "b1", "b3", "v2_s"] = "b0",
    stem: Literal["cifar", "imagenet"] = "imagenet",
    dropout: float | None = None,
    stochastic_depth: float = 0.2,
    activation: Literal["silu", "linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "silu",
) -> nn.Module:
    """`dropout` is the variant's own if not given; `stochastic_depth` is what the deepest block would have."""
    channels = image_shape(shape, "efficientnet")[0]
    one_of(VARIANTS, variant=variant)
    one_of(("cifar", "imagenet"), stem=stem)
    one_of(("silu", *ACTIVATIONS), activation=activation)
    net = VARIANTS[variant]
    dropout = net.dropout if dropout is None else dropout
    probabilities(dropout=dropout, stochastic_depth=stochastic_depth)
    stages = [
        Stage(s.expand, s.kernel, s.stride, divisible(s.outputs * net.width), math.ceil(s.blocks * net.depth), s.fused)
        for s in net.stages
    ]
    first, narrow = divisible(net.stem * net.width), stages[-1].outputs
    last = net.last or 4 * narrow

    def make() -> nn.Module:
        return nn.SiLU() if activation == "silu" else activation_module(activation)

    features = nn.Sequential(
        convolution(channels, first, 3, 1 if stem == "cifar" else 2, activation=make(), eps=net.eps),
        inverted_stack(first, stages, make, squeeze=True, drop=stochastic_depth, eps=net.eps),
        convolution(narrow, last, 1, activation=make(), eps=net.eps),
    )
    return PooledNet(features, head(last, classes), dropout)
