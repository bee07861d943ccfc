"""Residual network for small images (He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
arXiv 1512.03385, section 4.2).

    N = 6 D + 2:  conv3x3 of W;  D basic blocks each of W, 2W, 4W channels;  global average;  linear layer to logits
    N = 9 D + 2:  the same with D bottlenecks each of 4W, 8W, 16W channels (`block: bottleneck`)

Not from the paper: the shortcut is by default a projection where the shape changes, as in the sparse-training
literature; the paper's is `shortcut: pad`. N = 20 has 272,474 parameters for 10 classes, and 269,722 with the latter.
The paper has bottlenecks on ImageNet only; code that calls a net of 9 bottlenecks a stage ResNet-56 ("6 D + 2") has
N = 83 here, which is what it is.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.heads import head
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.limits import at_least, one_of
from sparse_ortho.models.residual import Block, Bottleneck, ResNet, stack


def cifar_resnet(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: int = 20,
    width: int = 16,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
    shortcut: Literal["projection", "pad"] = "projection",
    block: Literal["basic", "bottleneck"] = "basic",
) -> nn.Module:
    """`depth` counts the layers with weights on the longest path: 8, 14, 20, ... of basic blocks."""
    channels = image_shape(shape, "resnet")[0]
    one_of(("projection", "pad"), shortcut=shortcut)
    one_of(("basic", "bottleneck"), block=block)
    kind, step = (Block, 6) if block == "basic" else (Bottleneck, 9)
    if depth < step + 2 or depth % step != 2:
        allowed = ", ".join(str(step * blocks + 2) for blocks in range(1, 6)) + ", ..."
        raise UserError("model.depth", f"must be {step} D + 2", found=depth, allowed=allowed)
    at_least(1, width=width)
    stages = [(width * 2**i * kind.expansion, depth // step, min(i, 1) + 1) for i in range(3)]
    conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    blocks = stack(kind, width, stages, activation, shortcut=shortcut)
    return ResNet(conv, nn.Identity(), blocks, head(stages[-1][0], classes), activation)
