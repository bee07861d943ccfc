"""Numbers too large for float64, going through a network: a tensor and a power of two beside it.

    x = v 2^e,   v a float64 tensor with its largest value in [1/2, 1), e one whole number for all of it

A ResNet-110 has 1e200 paths, a chain of 1000 layers of 100 units 1e2000. Whatever is linear acts on v; sums bring both
to the larger exponent, where what is 2^1074 times smaller is nothing. Pools and means become sums over their windows,
for here every edge counts 1, and activations as functions the identity: values are never negative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F

PASSED = {
    *("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "selu_", "celu", "gelu", "silu"),
    *("mish", "softplus", "softsign", "hardtanh", "hardswish", "tanh", "tanh_", "softmax", "log_softmax", "dropout"),
}
ADDED = {"add", "add_", "__add__", "__iadd__", "__radd__"}
TIMES = {"mul", "mul_", "__mul__", "__imul__", "__rmul__"}
JOINED = {"cat", "concat", "stack"}


class Scaled(torch.Tensor):
    exponent: int

    @staticmethod
    def of(value: torch.Tensor, exponent: int = 0) -> Scaled:
        """`value` times 2^exponent."""
        value = plain(value)
        largest = float(value.max()) if value.numel() else 0.0
        shift = math.frexp(largest)[1] if largest > 0 else 0
        found = (value * math.ldexp(1.0, -shift)).as_subclass(Scaled)
        found.exponent = exponent + shift
        return found

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in PASSED:
            return args[0]
        if name in JOINED:
            args = (_level(args[0]), *args[1:])
            exponent = args[0][0].exponent
        elif name in ADDED:
            args = tuple(_level(args[:2]))
            exponent = args[0].exponent
        else:
            exponents = [_exponent(arg) for arg in (args if name in TIMES else args[:1])]
            exponent = sum(exponents)
        act: Any = SUMS.get(name, func)
        with torch._C.DisableTorchFunctionSubclass():
            found = act(*args, **(kwargs or {}))
        return Scaled.of(found, exponent) if isinstance(found, torch.Tensor) and found.is_floating_point() else found


def plain(x: torch.Tensor) -> torch.Tensor:
    """The tensor without what makes it act differently."""
    with torch._C.DisableTorchFunctionSubclass():
        return x.detach().as_subclass(torch.Tensor)


def log10_of(total: torch.Tensor) -> float:
    """log10(1 + the sum of all of it)."""
    value, exponent = float(plain(total).sum()), _exponent(total)
    if value <= 0:
        return 0.0
    if exponent < 1000:
        return math.log1p(math.ldexp(value, exponent)) / math.log(10)
    return math.log10(value) + exponent * math.log10(2)


def _exponent(value: Any) -> int:
    return value.exponent if isinstance(value, Scaled) else 0


def _level(values: Sequence[Any]) -> list[Any]:
    """All at the largest exponent; a tensor of zeros has none to speak of."""
    tensors = [value if isinstance(value, torch.Tensor) else torch.tensor(float(value)).double() for value in values]
    top = max((_exponent(value) for value in tensors if bool((value != 0).any())), default=0)
    found = []
    for value in tensors:
        found.append((plain(value) * math.ldexp(1.0, min(_exponent(value) - top, 0))).as_subclass(Scaled))
        found[-1].exponent = top
    return found


def _summed(x: torch.Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> torch.Tensor:
    return x.sum() if dim is None else x.sum(dim, keepdim=keepdim)


def _pooled(pool: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def summed(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        kwargs.pop("divisor_override", None)
        return pool(x, *args[:5], **kwargs, divisor_override=1)  # the sixth argument is the divisor

    return summed


def _pooled_line(x: torch.Tensor, kernel_size: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    size = kernel_size if isinstance(kernel_size, int) else kernel_size[0]
    return F.avg_pool1d(x, kernel_size, *args, **kwargs) * size


def _adapted(pool: Callable[..., torch.Tensor], dims: int) -> Callable[..., torch.Tensor]:
    """Means over windows that may overlap and differ in size, times those sizes."""

    def summed(x: torch.Tensor, output_size: Any) -> torch.Tensor:
        found = pool(x, output_size)
        for dim in range(-dims, 0):
            n, m = x.shape[dim], found.shape[dim]
            windows = torch.tensor([-(-(i + 1) * n // m) - i * n // m for i in range(m)], dtype=x.dtype)
            found = found * windows.view(-1, *[1] * (-dim - 1))
        return found

    return summed


SUMS: dict[str, Callable[..., torch.Tensor]] = {
    "mean": _summed,
    "avg_pool1d": _pooled_line,
    "avg_pool2d": _pooled(F.avg_pool2d),
    "avg_pool3d": _pooled(F.avg_pool3d),
    **{f"adaptive_avg_pool{d}d": _adapted(getattr(F, f"adaptive_avg_pool{d}d"), d) for d in (1, 2, 3)},
}
