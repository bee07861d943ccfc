"""The plain network of the deep-MLP experiments: `depth` linear layers with biases, one width, logits.

No normalisation and no skips: what reaches the last of 1000 layers is decided by the initialisation alone.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.activations import activation as activation_module


class MLP(nn.Module):
    def __init__(self, sizes: tuple[int, ...], activation: str):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.activations = nn.ModuleList(activation_module(activation) for _ in sizes[2:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        for layer, activation in zip(self.layers, self.activations, strict=False):  # all layers but the last
            x = activation(layer(x))
        return self.layers[-1](x)


def mlp(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: int = 7,
    width: int = 100,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "tanh",
) -> nn.Module:
    """`depth` counts all linear layers, so depth 1 is a linear classifier."""
    if depth < 1:
        raise UserError("model.depth", "must be at least 1", found=depth)
    if width < 1:
        raise UserError("model.width", "must be at least 1", found=width)
    return MLP((math.prod(shape), *[width] * (depth - 1), classes), activation)
