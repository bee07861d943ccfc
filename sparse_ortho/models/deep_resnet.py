"""ResNet-18, 34, 50, 101 and 152 (He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv
1512.03385, table 1), and Wide-ResNet-50-2 and 101-2 (Zagoruyko, Komodakis, arXiv 1605.07146, section 3.4).

    stem;  stages of W, 2W, 4W, 8W channels (bottlenecks: 4 times that), strides 1, 2, 2, 2;  global average;  head
    stem "imagenet":  conv7x7 stride 2, max pool 3x3 stride 2;    stem "cifar":  conv3x3

Basic blocks up to 34 layers, bottlenecks from 50. `widen: 2` doubles the inner channels of bottlenecks only. ResNet-50
has 25,557,032 parameters for 1000 classes, 25,502,912 of them in 54 weights of convolutions and head.

Not from the papers: the stem "cifar" (small images, no pooling: ResNet-18 has 11,164,352 weights for 10 classes with
`head_bias: false`); shortcuts are projections; the stride is in the 3x3 (`residual.py`); `width` scales every layer
(thin dense nets); `stage_widths: constant` keeps W in all stages (STR's small-dense); `head: conv` (`heads.py`).
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.heads import head as head_module
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.limits import at_least, one_of
from sparse_ortho.models.residual import Block, Bottleneck, ResNet, stack

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def deep_resnet(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: Literal[18, 34, 50, 101, 152] = 18,
    width: int = 64,
    widen: int = 1,
    stem: Literal["cifar", "imagenet"] = "imagenet",
    stage_widths: Literal["doubling", "constant"] = "doubling",
    head: Literal["linear", "conv"] = "linear",
    head_bias: bool = True,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    """`depth` counts the layers with weights on the longest path."""
    channels = image_shape(shape, "deep_resnet")[0]
    one_of(BLOCKS, depth=depth)
    one_of(("cifar", "imagenet"), stem=stem)
    one_of(("doubling", "constant"), stage_widths=stage_widths)
    one_of(("linear", "conv"), head=head)
    at_least(1, width=width, widen=widen)
    if depth < 50 and widen > 1:
        raise UserError(
            "model.widen", f"widens bottlenecks, and depth {depth} has none; take width instead", found=widen
        )
    growth = 2 if stage_widths == "doubling" else 1
    kind, options = (Block, {}) if depth < 50 else (Bottleneck, {"widen": widen})
    widths = [width * growth**i * kind.expansion for i in range(4)]
    small = stem == "cifar"
    conv = nn.Conv2d(channels, width, 3 if small else 7, 1 if small else 2, padding=1 if small else 3, bias=False)
    pool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
    blocks = stack(kind, width, zip(widths, BLOCKS[depth], (1, 2, 2, 2), strict=True), activation, **options)
    return ResNet(conv, pool, blocks, head_module(widths[-1], classes, head, head_bias), activation)
