"""From feature maps to logits: global average, dropout, one linear map.

The sparse-training literature writes that map in three ways: a linear layer with biases, one without (ER), and a 1x1
convolution without biases (STR), which has the same numbers as the second but counts as a convolution where a density
scheme reads the sizes of kernels (ERK).
"""

from __future__ import annotations

import torch
from torch import nn


class ConvolutionHead(nn.Conv2d):
    """A linear layer as a 1x1 convolution: (N, inputs) -> (N, classes)."""

    def __init__(self, inputs: int, classes: int, bias: bool):
        super().__init__(inputs, classes, 1, bias=bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input[:, :, None, None]).flatten(1)


class PooledNet(nn.Module):
    """`features`, then the mean over all pixels, dropout and the head; so any size of image gives logits."""

    def __init__(self, features: nn.Module, fc: nn.Module, dropout: float = 0.0):
        super().__init__()
        self.features = features
        self.dropout = nn.Dropout(dropout)
        self.fc = fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.features(x).mean((2, 3))))


def head(inputs: int, classes: int, kind: str = "linear", bias: bool = True) -> nn.Module:
    return nn.Linear(inputs, classes, bias) if kind == "linear" else ConvolutionHead(inputs, classes, bias)
