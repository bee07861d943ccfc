"""Soft activations in the place of ReLU (the released code of ToST, arXiv 2206.12755, with its names).

    swish, pswish    x sigmoid(b x)                 b = 1 (Ramachandran, Zoph, Le, arXiv 1710.05941), and 2
    mish             x tanh(softplus(x))            (Misra, arXiv 1908.08681)
    gelu, elu, softplus                             as in PyTorch, gelu with the error function
    lisht            x tanh(x)                      (Roy et al., arXiv 1901.05894)
    bent_identity    (sqrt(x^2 + 1) - 1) / 2 + x
    smooth_relu      x+ - log(a x+ + 1) / a,  a = 200, x+ = max(x, 0)
    smooth_gradient  max(x, 0) with the derivative sigmoid(10 x)

The last three are in the released code without a name that an option could say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

SHARP = {"swish": 1.0, "pswish": 2.0}  # kinds that a sharpness leads to ReLU, and theirs as released


def swish(x: torch.Tensor, sharpness: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(sharpness * x)


def lisht(x: torch.Tensor) -> torch.Tensor:
    return x * torch.tanh(x)


def bent_identity(x: torch.Tensor) -> torch.Tensor:
    return (torch.sqrt(x * x + 1) - 1) / 2 + x


def smooth_relu(x: torch.Tensor, a: float = 200.0) -> torch.Tensor:
    positive = x.relu()
    return positive - torch.log1p(a * positive) / a


class SmoothGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        (x,) = ctx.saved_tensors
        return slopes[0] * torch.sigmoid(10 * x)


def smooth_gradient(x: torch.Tensor) -> torch.Tensor:
    found: Any = SmoothGradient.apply(x)
    return found


BLENDED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "bent_identity": bent_identity,
    "elu": F.elu,
    "gelu": F.gelu,
    "lisht": lisht,
    "mish": F.mish,
    "smooth_gradient": smooth_gradient,
    "smooth_relu": smooth_relu,
    "softplus": F.softplus,
}
