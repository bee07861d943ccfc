"""Where a network can take a ghost skip: which layer's input goes around it, and what the branch is added to.

    residual block of two convolutions, act(BN(conv)):   from the input of each convolution to the output of its BN
    the same with BN and activation first:               to the output of the convolution itself
    identity:                                            the same where the shape stays, and square linear layers

So a branch is always added before an activation, as in the released code. Its blocks of three convolutions
(bottlenecks) have no branch there, and have none here. Blocks are known by what their layers are called, as in ours and
torchvision's: conv1, bn1, conv2, bn2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from sparse_ortho.models.wide_resnet import PreactivationBlock


@dataclass(frozen=True)
class Place:
    """A branch from the input of `source` to the output of `sink`."""

    name: str
    source: nn.Module
    sink: nn.Module


def convolutions(model: nn.Module) -> Iterator[tuple[Place, nn.Conv2d]]:
    """The convolutions of all residual blocks of two."""
    for path, block in model.named_modules():
        if hasattr(block, "conv3"):
            continue
        for number in (1, 2):
            layer, norm = getattr(block, f"conv{number}", None), getattr(block, f"bn{number}", None)
            if not isinstance(layer, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
                break
            if not isinstance(getattr(block, "conv2", None), nn.Conv2d):  # a stem that is called conv1
                break
            sink = layer if isinstance(block, PreactivationBlock) else norm
            yield Place(f"{path}.conv{number}" if path else f"conv{number}", layer, sink), layer


def squares(model: nn.Module) -> Iterator[Place]:
    """Where the input can be added as it is: linear layers but the last, and the convolutions above."""
    linear = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    for path, module in linear[:-1]:
        if module.in_features == module.out_features:
            yield Place(path, module, module)
    for place, layer in convolutions(model):
        if layer.in_channels == layer.out_channels and set(layer.stride) == {1}:
            yield place
