"""BatchNorm over the batch of all ranks (Ioffe, Szegedy, ICML 2015), on CPUs and on CUDA; torch's own is for CUDA only.

    mean = sum_r n_r mean_r / N,    var = sum_r n_r (var_r + (mean_r - mean)^2) / N,    N = sum_r n_r
    dx = w / sqrt(var + eps) (dy - sum(dy) / N - z sum(dy z) / N),    z = (x - mean) / sqrt(var + eps)

with sums over the rows and places of all ranks. Means and variances are put together by Chan's formula instead of from
sums of squares, which in float32 lose the variance of a channel whose mean is 1000 times its deviation. A layer keeps
its parameters, its buffers and its place: only its class is another one while the ranks train.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from sparse_ortho.errors import UserError

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
HALF = (torch.float16, torch.bfloat16)


@contextlib.contextmanager
def synced_norms(model: nn.Module) -> Iterator[None]:
    """In training mode, the BatchNorm layers of `model` see the batch of all ranks."""
    found = [(path, module) for path, module in model.named_modules() if isinstance(module, _BatchNorm)]
    for path, module in found:
        if type(module) not in PLAIN:
            kind = type(module).__name__
            raise UserError(path, "only plain BatchNorm can be trained by several ranks", found=kind)
    before = [(module, type(module)) for _, module in found]
    try:
        for module, _ in before:
            _become(module, SyncedNorm)
        yield
    finally:
        for module, kind in before:
            _become(module, kind)


def _become(module: Any, kind: type) -> None:
    module.__class__ = kind


class SyncedNorm(_BatchNorm):
    def _check_input_dim(self, input: torch.Tensor) -> None: ...

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(input)
        y, mean, var = Normalise.apply(input, self.weight, self.bias, self.eps)  # pyright: ignore[reportGeneralTypeIssues]
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_(var.to(self.running_var.dtype), share)
        return y


class Normalise(torch.autograd.Function):
    """(y, mean, unbiased variance); half precisions are computed in float32, as torch does."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float) -> Any:
        wide = x.float() if x.dtype in HALF else x
        var, mean = torch.var_mean(wide, _dims(x), correction=0)
        count = torch.full_like(mean, x.numel() / x.shape[1])
        mean, var, total = pooled(torch.stack([mean, var, count]))
        deviation = (var + eps).rsqrt()
        y = (wide - _wide(mean, x)) * _wide(deviation if weight is None else deviation * weight, x)
        y = y if bias is None else y + _wide(bias, x)
        ctx.save_for_backward(x, weight, mean, deviation, total)
        unbiased = var * total / (total - 1)
        ctx.mark_non_differentiable(mean, unbiased)
        return y.to(x.dtype), mean, unbiased

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, mean, deviation, total = ctx.saved_tensors
        slope = slopes[0].float() if slopes[0].dtype in HALF else slopes[0]
        z = ((x.float() if x.dtype in HALF else x) - _wide(mean, x)) * _wide(deviation, x)
        own = torch.stack([slope.sum(_dims(x)), (slope * z).sum(_dims(x))])
        everybody = own.clone()
        dist.all_reduce(everybody)
        first, second = everybody / total
        factor = deviation if weight is None else deviation * weight
        dx = (slope - _wide(first, x) - z * _wide(second, x)) * _wide(factor, x)
        given = (None, None) if weight is None else (own[1], own[0])  # summed over ranks with the other gradients
        return dx.to(x.dtype), *given, None


def pooled(mine: torch.Tensor) -> torch.Tensor:
    """Mean, variance and number of all ranks' values, from each rank's own."""
    everybody = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everybody, mine)
    means, variances, counts = torch.stack(everybody).unbind(1)
    total = counts.sum(0)
    mean = (counts * means).sum(0) / total
    return torch.stack([mean, (counts * (variances + (means - mean) ** 2)).sum(0) / total, total])


def _dims(x: torch.Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


def _wide(channels: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return channels.view(1, -1, *(1 for _ in range(2, x.ndim)))
