"""Where a network can take a ghost skip: which layer's input goes around it, and what the branch is added to.

    block of two or three convolutions, act(BN(conv)):   from the input of each convolution to the output of its BN
    the same with BN and activation first:               to the output of the convolution itself
    identity:                                            the same where the shape stays, and square linear layers

So a branch is always added before an activation, as in the released code. Not from there: blocks of three convolutions
(bottlenecks), which it leaves as they are. Blocks are known by what their layers are called, as in ours and
torchvision's: conv1, bn1, conv2, bn2, and conv3, bn3; BN comes first where a block has bn1 before conv1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Place:
    """A branch from the input of `source` to the output of `sink`."""

    name: str
    source: nn.Module
    sink: nn.Module


def convolutions(model: nn.Module) -> Iterator[tuple[Place, nn.Conv2d]]:
    """The convolutions of all blocks of two or three."""
    for path, block in model.named_modules():
        layers = dict(block.named_children())
        pairs = [(f"conv{n}", f"bn{n}") for n in ((1, 2, 3) if "conv3" in layers else (1, 2))]
        found = [(name, layers.get(name), layers.get(norm)) for name, norm in pairs]
        if not all(isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d) for _, conv, bn in found):
            continue  # also a stem that is called conv1
        order = list(layers)
        first = order.index("bn1") < order.index("conv1")
        for name, layer, norm in found:
            assert isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            yield Place(f"{path}.{name}" if path else name, layer, layer if first else norm), layer


def squares(model: nn.Module) -> Iterator[Place]:
    """Where the input can be added as it is: linear layers but the last, and the convolutions above."""
    linear = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    for path, module in linear[:-1]:
        if module.in_features == module.out_features:
            yield Place(path, module, module)
    for place, layer in convolutions(model):
        if layer.in_channels == layer.out_channels and set(layer.stride) == {1}:
            yield place
