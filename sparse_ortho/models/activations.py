"""Activations by name. Each use gets a module of its own, so that one can be replaced or watched alone."""

from __future__ import annotations

from torch import nn

from sparse_ortho.errors import UserError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "hard_tanh": nn.Hardtanh,
    "linear": nn.Identity,
    "lrelu": nn.LeakyReLU,  # slope 0.01
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
}


def activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise UserError("model.activation", "unknown activation", found=name, allowed=ACTIVATIONS)
    return ACTIVATIONS[name]()
