"""Singular values of layers as the operators that they are, on images of n x n.

Circular padding of half the kernel makes a convolution block diagonal in the Fourier basis (Sedghi, Gupta, Long, "The
Singular Values of Convolutional Layers", ICLR 2019, arXiv 1805.10408):

    A_u = sum_a K[:, :, a] exp(-2 pi i (u . a) d / n),   d the dilation
    stride 1: the values of all A_u;   stride s | n: those of [A_u : u = v mod n / s] / s^(axes / 2) for all v

the latter because a picture of every s-th pixel folds frequencies onto one another (derived here). Zero padding has no
such basis: its matrix is built from the images of one pixel each, for each group, up to `LARGEST` columns.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch.nn import functional as F

from sparse_ortho.errors import UserError

LARGEST = 4096  # columns of a dense matrix: 128 MiB in float64 if it is square
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def operator_values(weight: torch.Tensor, groups: int, image: int, stride: int = 1, dilation: int = 1) -> torch.Tensor:
    """Descending, of a layer with circular padding; (rows, cols, ...taps) with `groups` blocks one above the other."""
    axes = weight.ndim - 2
    if not axes:
        blocks = torch.stack(weight.chunk(groups, 0))
        return torch.linalg.svdvals(blocks).flatten().sort(descending=True).values
    if image % stride:
        raise UserError("image", f"must be divisible by the stride {stride} of a layer", found=image)
    at = torch.fft.fftn(_wrapped(weight, image, dilation), dim=tuple(range(2, 2 + axes)))
    low = image // stride
    folded = [
        at[(slice(None), slice(None), *(slice(part * low, (part + 1) * low) for part in parts))]
        for parts in itertools.product(range(stride), repeat=axes)
    ]
    wide = torch.stack(folded, 2).flatten(3) / stride ** (axes / 2)  # rows, cols, stride^axes, frequencies
    blocks = torch.cat([part.permute(3, 0, 1, 2).flatten(2) for part in wide.chunk(groups, 0)])
    return torch.linalg.svdvals(blocks).flatten().sort(descending=True).values


def layer_values(module: Any, weight: torch.Tensor, image: int) -> torch.Tensor:
    """Those of a convolution with its own stride, padding and dilation; of another layer, of its matrix."""
    if weight.ndim == 2:
        return operator_values(weight, 1, image)
    half = tuple(d * (k // 2) for d, k in zip(module.dilation, module.kernel_size, strict=True))
    same = module.padding == "same" or tuple(module.padding) == half
    even = len(set(module.stride)) == len(set(module.dilation)) == 1 and image % module.stride[0] == 0
    if module.padding_mode == "circular" and same and even and all(k % 2 for k in module.kernel_size):
        return operator_values(weight, module.groups, image, module.stride[0], module.dilation[0])
    blocks = [_dense(module, part, image) for part in weight.chunk(module.groups, 0)]
    return torch.cat([torch.linalg.svdvals(block) for block in blocks]).sort(descending=True).values


def _dense(module: Any, weight: torch.Tensor, image: int) -> torch.Tensor:
    """The matrix of one group, column by column."""
    inputs, axes = weight.shape[1], weight.ndim - 2
    side = inputs * image**axes
    if side > LARGEST:
        most = int((LARGEST / inputs) ** (1 / axes))
        raise UserError("image", "makes the matrix of a layer too large", found=image, allowed=f"1 to {most}")
    pixels = torch.eye(side, dtype=weight.dtype).view(side, inputs, *[image] * axes)
    padding = module.padding
    if module.padding_mode != "zeros":
        mode = {"circular": "circular", "reflect": "reflect", "replicate": "replicate"}[module.padding_mode]
        pixels = F.pad(pixels, module._reversed_padding_repeated_twice, mode=mode)
        padding = 0
    made = CONVOLUTIONS[axes](pixels, weight, stride=module.stride, padding=padding, dilation=module.dilation)
    return made.flatten(1)


def _wrapped(weight: torch.Tensor, image: int, dilation: int) -> torch.Tensor:
    """The kernel on a torus of `image` a side: taps that leave it on one side come in on the other."""
    for axis in range(2, weight.ndim):
        places = torch.arange(weight.shape[axis]) * dilation % image
        shape = [*weight.shape[:axis], image, *weight.shape[axis + 1 :]]
        weight = weight.new_zeros(shape).index_add_(axis, places, weight)
    return weight
