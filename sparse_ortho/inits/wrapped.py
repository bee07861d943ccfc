"""Which kernel a convolution gets when kernels are to use all their taps: ECO where it is orthogonal, else delta.

    eco         every convolution, and one that ECO does not make orthogonal is refused
    delta_eco   ECO in convolutions with circular padding, delta kernels in all others (as in SAO)

ECO needs circular padding of half the dilated kernel and stride 1, or squares side by side: stride = side, no padding.
The size of the image is not known here: it is orthogonal on images of `dilation * side` pixels a side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.inits.blocks import Blocks
from sparse_ortho.linalg.convolution import delta_kernel
from sparse_ortho.linalg.eco import eco_kernel, from_depth
from sparse_ortho.masks import plain_name

Draw = Callable[[int, int], np.ndarray]  # rows, cols -> a matrix, each time another one


def convolutions_of(model: nn.Module) -> dict[str, Any]:
    """The convolution module of every weight that is one's."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {
        plain_name(f"{path}.weight" if path else "weight"): module
        for path, module in model.named_modules()
        if isinstance(module, kinds)
    }


def wraps(module: Any) -> bool:
    """Whether ECO makes this convolution orthogonal, on images of the right size."""
    if module is None:
        return False
    if all(stride == 1 for stride in module.stride):
        half = tuple(d * (k // 2) for d, k in zip(module.dilation, module.kernel_size, strict=True))
        return module.padding_mode == "circular" and (module.padding == "same" or tuple(module.padding) == half)
    alone = set(module.dilation) == {1} and module.padding in ("valid", (0,) * len(module.stride))
    return alone and tuple(module.kernel_size) == tuple(module.stride)


def kernel_of(name: str, block: Blocks, module: Any, kind: str, draw: Draw) -> np.ndarray:
    """One block of a layer: the kernel `kind` of matrices that `draw` makes."""
    if kind == "delta" or block.taps == 1:
        return delta_kernel(draw(block.rows, block.cols), block.taps, block.axes)
    if not wraps(module):
        if kind == "eco":
            needs = "circular padding of half the kernel and stride 1, or a stride of the kernel's side and no padding"
            raise UserError(name, f"kernel: eco needs {needs}; delta_eco takes delta kernels for such layers")
        return delta_kernel(draw(block.rows, block.cols), block.taps, block.axes)
    stride = module.stride[0]
    squares = stride**block.axes
    kernel = eco_kernel(lambda: draw(block.rows, block.cols * squares), block.taps // stride, block.axes)
    return from_depth(kernel, stride) if stride > 1 else kernel
