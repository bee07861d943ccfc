"""VGG with its three linear layers (Simonyan, Zisserman, ICLR 2015, arXiv 1409.1556), batch-normalised as in
torchvision.

    five blocks of conv3x3 (see vgg.py), max-pool 2 after each;  average to 7 x 7;  25088 -> 4096 -> 4096 -> logits

An activation and then dropout follow each hidden linear layer. Parameters, their order and the function are those of
torchvision's vgg16_bn: 138,365,992 for 1000 classes. Not from the paper: batch normalisation, and the average to 7 x 7,
which lets other sizes than 224 in. It is a product with two fixed matrices, since torch's own has no deterministic
gradient on CUDA.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

from sparse_ortho.models.activations import activation as activation_module
from sparse_ortho.models.images import image_shape
from sparse_ortho.models.limits import at_least, probabilities
from sparse_ortho.models.vgg import WIDTHS, blocks

GRID = 7


class Average(nn.Module):
    """Average a map of known size over a grid of cells; cell i of n covers floor(i s / n) up to ceil((i + 1) s / n)."""

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, height: int, width: int):
        super().__init__()
        self.register_buffer("rows", _cells(height), persistent=False)
        self.register_buffer("columns", _cells(width), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rows @ x @ self.columns.T


def _cells(side: int) -> torch.Tensor:
    rows = []
    for cell in range(GRID):
        first, end = cell * side // GRID, -(-(cell + 1) * side // GRID)
        rows.append([1 / (end - first) if first <= place < end else 0.0 for place in range(side)])
    return torch.tensor(rows)


def vgg_imagenet(
    shape: tuple[int, ...],
    classes: int,
    *,
    depth: int = 16,
    norm: bool = True,
    hidden: int = 4096,
    dropout: float = 0.5,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    channels, height, width = image_shape(shape, "vgg_imagenet", least=32)
    at_least(1, hidden=hidden)
    probabilities(dropout=dropout)
    layers = OrderedDict(blocks(channels, depth, activation, norm=norm, bias=True))
    layers["average"] = Average(height // 32, width // 32)
    layers["flatten"] = nn.Flatten()
    for i, inputs in enumerate((WIDTHS[-1] * GRID * GRID, hidden), 1):
        layers[f"fc{i}"] = nn.Linear(inputs, hidden)
        layers[f"activation6_{i}"] = activation_module(activation)
        layers[f"dropout{i}"] = nn.Dropout(dropout)
    layers["fc3"] = nn.Linear(hidden, classes)
    return nn.Sequential(layers)
