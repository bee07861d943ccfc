"""The plain network of the deep-MLP experiments: `depth` linear layers with biases, one width, logits.

No normalisation and no skips: what reaches the last of 1000 layers is decided by the initialisation alone.

`hidden` gives each hidden layer a width of its own instead, as the released program of EOI has it for CIFAR-10 (1024,
512) and Higgs (256, 256); `dropout` drops inputs of every layer, those of the first too, as in its mlp_cifar10_dropout.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.limits import at_least, probabilities


class MLP(nn.Module):
    def __init__(self, sizes: tuple[int, ...], activation: str, dropout: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.activations = nn.ModuleList(activation_module(activation) for _ in sizes[2:])
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._drop(x.flatten(1))
        for layer, activation in zip(self.layers, self.activations, strict=False):  # all layers but the last
            x = self._drop(activation(layer(x)))
        return self.layers[-1](x)

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.dropout is None else self.dropout(x)


def mlp(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: int = 7,
    width: int = 100,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "tanh",
    hidden: tuple[int, ...] = (),
    dropout: float = 0.0,
) -> nn.Module:
    """`depth` counts all linear layers, so depth 1 is a linear classifier."""
    at_least(1, depth=depth, width=width)
    if hidden and (depth, width) != (7, 100):
        raise UserError("model.hidden", "gives the layers, so depth and width stay unsaid", found=list(hidden))
    if min(hidden, default=1) < 1:
        raise UserError("model.hidden", "must be at least 1 each", found=list(hidden))
    probabilities(dropout=dropout)
    return MLP((math.prod(shape), *(hidden or [width] * (depth - 1)), classes), activation, dropout)
