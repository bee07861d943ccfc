"""How far the layers of a network are from isometry, as operators, and which units are dead.

A linear layer is its matrix. A convolution with circular padding and stride 1 on an image of n x n is block diagonal
in the Fourier basis (Sedghi, Gupta, Long, "The Singular Values of Convolutional Layers", ICLR 2019, arXiv 1805.10408):

    A_uv = sum_ab K[:, :, a, b] exp(-2 pi i (u a + v b) / n),   singular values of the layer = those of all A_uv

so n^2 small decompositions replace one of (c n^2) x (c n^2). Each group of a grouped convolution is a block of its own.

    residual = || s / q - 1 ||_2 / sqrt(number of s),   q^2 = mean s^2,   over the min(rows, columns) values of a layer

is 0 for a multiple of an isometry, whatever its gain, and 1 for a layer of zeros. A unit is dead if all its weights
are 0: an output that sees no input, an input that nothing reads. What is not from the paper: `residual`, and that
kernels larger than the image wrap around.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.masks import groups_of, maskable


def layers(model: nn.Module, take: Callable[[int], torch.Tensor], *, image: int = 8) -> dict[str, float]:
    """The measurement of a network: mean and largest residual, extreme singular values, shares of dead units."""
    if image < 1:
        raise UserError("measure.image", "must be at least 1", found=image)
    groups = groups_of(model)
    weights = {name: weight.detach().double() for name, weight in maskable(model).items()}
    values = [operator_values(weight, groups.get(name, 1), image) for name, weight in weights.items()]
    residuals = torch.stack([residual(found) for found in values])
    dead_in, inputs, dead_out, outputs = torch.tensor([dead(w, groups.get(n, 1)) for n, w in weights.items()]).sum(0)
    return {
        "residual": float(residuals.mean()),
        "residual_max": float(residuals.max()),
        "smallest": float(torch.stack([found.min() for found in values]).min()),
        "largest": float(torch.stack([found.max() for found in values]).max()),
        "dead_inputs": float(dead_in / inputs),
        "dead_outputs": float(dead_out / outputs),
    }


def operator_values(weight: torch.Tensor, groups: int, image: int) -> torch.Tensor:
    """All singular values of a layer, descending; (rows, cols, ...taps) with `groups` blocks one above the other."""
    axes = weight.ndim - 2
    if axes:
        weight = _wrapped(weight, image)
        weight = torch.fft.fftn(weight, dim=tuple(range(2, 2 + axes))).flatten(2)
    else:
        weight = weight[..., None]
    blocks = torch.cat(weight.chunk(groups, 0), 2).permute(2, 0, 1)  # (groups x frequencies, rows, cols)
    return torch.linalg.svdvals(blocks).flatten().sort(descending=True).values


def residual(values: torch.Tensor) -> torch.Tensor:
    scale = values.square().mean().sqrt()
    return (values / scale - 1).square().mean().sqrt() if scale > 0 else torch.ones((), dtype=values.dtype)


def dead(weight: torch.Tensor, groups: int) -> tuple[int, int, int, int]:
    """Inputs that nothing reads, inputs, outputs that see nothing, outputs."""
    blocks = torch.stack((weight.flatten(2) if weight.ndim > 2 else weight[..., None]).ne(0).any(2).chunk(groups, 0))
    read, seeing = blocks.any(1), blocks.any(2)  # (groups, inputs of one), (groups, outputs of one)
    return int((~read).sum()), read.numel(), int((~seeing).sum()), seeing.numel()


def _wrapped(weight: torch.Tensor, image: int) -> torch.Tensor:
    """The kernel on a torus of `image` a side: taps that leave it on one side come in on the other."""
    for axis in range(2, weight.ndim):
        places = torch.arange(weight.shape[axis]) % image
        shape = [*weight.shape[:axis], image, *weight.shape[axis + 1 :]]
        weight = weight.new_zeros(shape).index_add_(axis, places, weight)
    return weight
