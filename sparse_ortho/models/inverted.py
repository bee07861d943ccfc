"""The inverted bottleneck that MobileNetV2 (Sandler, Howard, Zhu, Zhmoginov, Chen, CVPR 2018, arXiv 1801.04381) and
EfficientNet (Tan, Le, ICML 2019, arXiv 1905.11946; V2: ICML 2021, arXiv 2104.00298) are made of.

    expand:   act(BN(conv1x1)) to e times the channels (not if e = 1);   depthwise:  act(BN(conv kxk, one per channel))
    squeeze:  times sigmoid(conv1x1( act( conv1x1( mean over pixels ) ) )), with biases, to 1/4 of the block's inputs
    project:  BN(conv1x1), no activation;   plus the input, where stride is 1 and the channels stay
    fused:    expand and depthwise are one kxk convolution with all channels (if e = 1 it projects, too)

Stochastic depth (Huang et al., arXiv 1603.09382): in training the branch of an image is 0 with probability p, and
divided by 1 - p otherwise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

MakeActivation = Callable[[], nn.Module]  # a new module every time


@dataclass(frozen=True)
class Stage:
    """Blocks of one shape; the first of them strides."""

    expand: int
    kernel: int
    stride: int
    outputs: int
    blocks: int
    fused: bool = False


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of `by`, and never under 90 % of what was asked for."""
    near = max(by, int(channels + by / 2) // by * by)
    return near + by if near < 0.9 * channels else near


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    activation: nn.Module | None = None,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Convolution without bias, BN and, if given, an activation; the size stays up to the stride."""
    parts: dict[str, nn.Module] = {
        "conv": nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        "bn": nn.BatchNorm2d(outputs, eps=eps),
    }
    return nn.Sequential(OrderedDict(parts if activation is None else parts | {"activation": activation}))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, squeezed: int, activation: nn.Module):
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation
        self.restore = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(self.restore(self.activation(self.reduce(x.mean((2, 3), keepdim=True)))))


class StochasticDepth(nn.Module):
    def __init__(self, drop: float):
        super().__init__()
        self.drop = drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.drop == 0:
            return x
        kept = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - self.drop)
        return x * kept / (1 - self.drop)


class InvertedBottleneck(nn.Module):
    def __init__(
        self,
        inputs: int,
        stage: Stage,
        make: MakeActivation,
        *,
        squeeze: bool = False,
        drop: float = 0.0,
        eps: float = 1e-5,
    ):
        super().__init__()
        inner, parts = inputs * stage.expand, OrderedDict[str, nn.Module]()
        if stage.fused:
            last = stage.outputs if stage.expand == 1 else inner
            parts["fused"] = convolution(inputs, last, stage.kernel, stage.stride, activation=make(), eps=eps)
        else:
            if stage.expand > 1:
                parts["expand"] = convolution(inputs, inner, 1, activation=make(), eps=eps)
            parts["depthwise"] = convolution(
                inner, inner, stage.kernel, stage.stride, groups=inner, activation=make(), eps=eps
            )
            if squeeze:
                parts["squeeze"] = SqueezeExcitation(inner, max(1, inputs // 4), make())
        if not (stage.fused and stage.expand == 1):
            parts["project"] = convolution(inner, stage.outputs, 1, eps=eps)
        self.branch = nn.Sequential(parts)
        self.depth = StochasticDepth(drop)
        self.skips = stage.stride == 1 and inputs == stage.outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.branch(x)
        return x + self.depth(y) if self.skips else y


def inverted_stack(
    inputs: int,
    stages: list[Stage],
    make: MakeActivation,
    *,
    squeeze: bool = False,
    drop: float = 0.0,
    eps: float = 1e-5,
) -> nn.Sequential:
    """All blocks of all stages; block i of n is dropped with probability `drop` * i / n, so the first never."""
    total, blocks = sum(stage.blocks for stage in stages), nn.Sequential()
    for stage in stages:
        for index in range(stage.blocks):
            one = replace(stage, stride=1) if index else stage
            share = drop * len(blocks) / total
            blocks.append(InvertedBottleneck(inputs, one, make, squeeze=squeeze, drop=share, eps=eps))
            inputs = stage.outputs
    return blocks
