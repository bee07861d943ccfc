"""How far the layers of a network are from isometry, as operators, and which units are dead.

A linear layer is its matrix, a convolution an operator on images of n x n pixels (see `linalg.operators`): with
circular padding and stride 1 whatever the layer's own, or, `operator: layer`, with the stride, padding and dilation of
the layer (Sedghi, Gupta, Long, ICLR 2019, arXiv 1805.10408). Each group of a grouped convolution is a block of its own.

    residual = || s / q - 1 ||_2 / sqrt(number of s),   q^2 = mean s^2,   over the min(rows, columns) values of a layer

is 0 for a multiple of an isometry, whatever its gain, and 1 for a layer of zeros. A unit is dead if all its weights
are 0: an output that sees no input, an input that nothing reads. What is not from the paper: `residual`, and that
kernels larger than the image wrap around.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.linalg.operators import layer_values, operator_values
from sparse_ortho.masks import LAYERS, groups_of, maskable, plain_name


def layers(
    model: nn.Module,
    take: Callable[[int], torch.Tensor],
    *,
    image: int = 8,
    operator: Literal["circular", "layer"] = "circular",
) -> dict[str, float]:
    """The measurement of a network: mean and largest residual, extreme singular values, shares of dead units."""
    if image < 1:
        raise UserError("measure.image", "must be at least 1", found=image)
    groups = groups_of(model)
    weights = {name: weight.detach().double() for name, weight in maskable(model).items()}
    modules = modules_of(model) if operator == "layer" else {}
    values = [
        layer_values(modules.get(name), weight, image)
        if operator == "layer"
        else operator_values(weight, groups.get(name, 1), image)
        for name, weight in weights.items()
    ]
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


def modules_of(model: nn.Module) -> dict[str, Any]:
    """The module of every linear or convolution weight, by its name."""
    return {
        plain_name(f"{path}.weight" if path else "weight"): module
        for path, module in model.named_modules()
        if isinstance(module, LAYERS)
    }


def residual(values: torch.Tensor) -> torch.Tensor:
    scale = values.square().mean().sqrt()
    return (values / scale - 1).square().mean().sqrt() if scale > 0 else torch.ones((), dtype=values.dtype)


def dead(weight: torch.Tensor, groups: int) -> tuple[int, int, int, int]:
    """Inputs that nothing reads, inputs, outputs that see nothing, outputs."""
    blocks = torch.stack((weight.flatten(2) if weight.ndim > 2 else weight[..., None]).ne(0).any(2).chunk(groups, 0))
    read, seeing = blocks.any(1), blocks.any(2)  # (groups, inputs of one), (groups, outputs of one)
    return int((~read).sum()), read.numel(), int((~seeing).sum()), seeing.numel()
