"""How many paths lead from the inputs of a network to its outputs (path counts as in Gebhart, Saxena, Schrater, "A
Unified Paths Perspective for Pruning at Initialization", 2021, arXiv 2101.10552).

    n = 1^T M_L ... M_2 M_1 1,      paths = log10(1 + n),      M_l the 0/1 matrix of a layer as an operator

for a chain; in general the model's own forward pass of an input of ones with masks in place of weights, so shortcuts,
pooling and padding count as they are. Every edge counts 1: pools sum their windows, activations and normalisation are
left out, biases are 0, gates are open and no path leads through them. Numbers have an exponent of their own
(`scaled.py`), so that 1000 layers neither vanish nor overflow. `paths_dense` is the same without masks.

Not from the paper: log10(1 + n), so that a network without a path has a value, 0; convolutions and shortcuts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from sparse_ortho.masks import maskable
from sparse_ortho.measure.scaled import Scaled, log10_of
from sparse_ortho.measure.subject import Subject
from sparse_ortho.probe import Probe
from sparse_ortho.repairs.paths import GATES, skeleton


def paths(model: nn.Module, subject: Subject) -> dict[str, float]:
    """log10(1 + number of paths) with the masks and without them."""
    kept, shape = subject.surviving(model), tuple(subject(1).shape[1:])
    dense = {name: torch.ones_like(mask) for name, mask in kept.items()}
    return {"paths": log_paths(model, kept, shape), "paths_dense": log_paths(model, dense, shape)}


@torch.no_grad()
def log_paths(model: nn.Module, kept: Mapping[str, torch.Tensor], shape: tuple[int, ...]) -> float:
    """log10(1 + n) of the masks `kept`, for inputs of `shape`."""
    opened = _opened(copy.deepcopy(model))
    net, layers = skeleton(Probe(opened, {name: weight.detach() for name, weight in maskable(opened).items()}))
    net = net.double()
    for name, mask in kept.items():
        layers[name].weight.copy_(mask)
    return log10_of(net(Scaled.of(torch.ones(1, *shape, dtype=torch.float64))))


class _One(nn.Module):
    """An open gate."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones(x.shape, dtype=torch.float64)


def _opened(model: nn.Module) -> nn.Module:
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, GATES):
                parent._modules[name] = _One()
    return model
