"""Singular values of the input-output Jacobian (Saxe, McClelland, Ganguli, ICLR 2014, arXiv 1312.6120; Pennington,
Schoenholz, Ganguli, NeurIPS 2017, arXiv 1711.04735).

    J(x) = d logits / d x,  outputs x inputs, for each image;   s_1 >= s_2 >= ... of J(x)

In evaluation mode images do not mix, so the gradient of sum_n logits_j(x_n) is row j of all Jacobians at once: as many
backward passes as outputs and outputs x images x inputs numbers. The whole batch's Jacobian would be images times that
(128 MNIST images: 514 MB), and all but 1 in 128 of it zero. The values come from the matrices, not from J J^T, which
would lose those under 3e-4 of the largest in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sparse_ortho.errors import UserError

WIDE = 4  # from this ratio of the sides on QR first: 128 matrices of 10 x 784 take 1.5 ms and not 12


def jacobian_singular_values(model: nn.Module, x: torch.Tensor, *, k: int | None = None) -> torch.Tensor:
    """(images, min(inputs, outputs)) singular values, descending; with `k`, the first k. The model is left as it is."""
    if k is not None and k < 1:
        raise UserError("k", "must be at least 1", found=k)
    matrices = jacobians(model, x)
    short, long = sorted(matrices.shape[1:])
    if long >= WIDE * short:
        tall = matrices if matrices.shape[1] == long else matrices.mT
        matrices = torch.linalg.qr(tall, mode="r").R
    return torch.linalg.svdvals(matrices)[:, :k]


def jacobians(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(images, outputs, inputs), in the dtype and on the device of the model."""
    like = next((p for p in model.parameters() if p.is_floating_point()), x)
    if not x.is_floating_point() or x.ndim < 2 or len(x) == 0:
        raise UserError("x", "must be a batch of floating-point inputs", found=f"{x.dtype} {tuple(x.shape)}")
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        x = x.detach().to(like.device, like.dtype, copy=True).requires_grad_()
        logits = model(x).flatten(1)
        rows = [
            torch.autograd.grad(total, x, retain_graph=True, materialize_grads=True)[0].flatten(1)
            for total in logits.sum(0)
        ]
    return torch.stack(rows, dim=1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards the mode that each module had."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def jacobian(model: nn.Module, take: Callable[[int], torch.Tensor], *, images: int = 128) -> dict[str, float]:
    """The measurement of a cell: of the first images that it trains on (the released code: the first batch of 128)."""
    return summary(jacobian_singular_values(model, take(images)))


def summary(values: torch.Tensor) -> dict[str, float]:
    """Mean, smallest, largest and unbiased variance of all values together."""
    pooled = values.double()
    found = {"mean": pooled.mean(), "min": pooled.min(), "max": pooled.max(), "var": pooled.var()}
    return {name: float(value) for name, value in found.items()}
