"""The network for tables of Gadhikar, Mukherjee, Burkholz, "Why Random Pruning Is All We Need to Start Sparse", ICML
2023, arXiv 2210.02412.

    F -> 256 -> 256 -> 256 -> logits,  each hidden layer:  linear, activation, batch normalisation

137,986 parameters for the 16 features and 2 classes of ACSEmployment. As in the released notebook.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Literal

from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.activations import activation as activation_module


def tabular(
    shape: tuple[int, ...],
    classes: int,
    *,
    hidden: tuple[int, ...] = (256, 256, 256),
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    if not hidden or min(hidden) < 1:
        raise UserError("model.hidden", "needs at least one width, each at least 1", found=list(hidden))
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    inputs = math.prod(shape)
    for i, width in enumerate(hidden, 1):
        layers[f"fc{i}"] = nn.Linear(inputs, width)
        layers[f"activation{i}"] = activation_module(activation)
        layers[f"bn{i}"] = nn.BatchNorm1d(width)
        inputs = width
    layers[f"fc{len(hidden) + 1}"] = nn.Linear(inputs, classes)
    return nn.Sequential(OrderedDict(layers))
