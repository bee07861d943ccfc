"""A network as a function of its parameters, for initialisations that differentiate through it.

Normalisation sees the statistics of its batch and its running ones stay as they are, dropout is off, and what the call
changes in the model (modes, buffers) is put back. Any module will do: `torch.func.functional_call` needs no layer of a
known kind. Parameters go by the names that masks have.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable, plain_name

Tensors = Mapping[str, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]


class Function:
    def __init__(self, model: nn.Module, loss: Callable[[Any, Any], torch.Tensor] | None):
        self.model = model
        self.loss = loss or torch.nn.functional.cross_entropy
        weights = {id(weight): name for name, weight in maskable(model).items()}  # a tied one may go by another name
        self.real = {weights.get(id(p), plain_name(name)): name for name, p in model.named_parameters()}

    def parameters(self) -> dict[str, torch.Tensor]:
        """Everything that learns, by its plain name; tied ones once."""
        known = dict(self.model.named_parameters())
        return {name: known[real].detach() for name, real in self.real.items() if known[real].requires_grad}

    def outputs(self, theta: Tensors, x: torch.Tensor) -> Any:
        scratch = {name: value.detach().clone() for name, value in self.model.named_buffers()}
        told = {self.real[name]: value for name, value in theta.items()}
        return functional_call(self.model, scratch | told, (x,))

    def __call__(self, theta: Tensors, batch: Batch) -> torch.Tensor:
        return self.loss(self.outputs(theta, batch[0]), batch[1])

    @contextlib.contextmanager
    def modes(self, *, elementary: bool = False) -> Iterator[None]:
        """In here normalisation learns from its batch, and everything else is as it is when a network is used.

        `elementary`: normalise by sums and products, for torch's batch_norm has no third derivative.
        """
        before = [(module, module.training) for module in self.model.modules()]
        norms = [module for module, _ in before if isinstance(module, _BatchNorm)] if elementary else []
        try:
            for module, _ in before:
                module.training = isinstance(module, _NormBase)
            for module in norms:
                vars(module)["forward"] = functools.partial(normalised, module)
            yield
        finally:
            for module in norms:
                vars(module).pop("forward", None)
            for module, training in before:
                module.training = training

    def on_device(self, batch: Batch) -> Batch:
        like = next(self.model.parameters())
        x, y = batch
        return x.to(like.device, like.dtype if x.is_floating_point() else x.dtype), y.to(like.device)


def normalised(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """BatchNorm by the statistics of `x`, (rows, channels, ...)."""
    told: Any = norm
    dims, shape = [0, *range(2, x.ndim)], [1, -1, *(1 for _ in range(2, x.ndim))]
    var, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
    y = (x - mean) * (var + told.eps).rsqrt()
    return y if told.weight is None else y * told.weight.view(shape) + told.bias.view(shape)


def endless(batches: Iterable[Batch], most: int, where: str) -> Iterator[Batch]:
    """Batch after batch, from the beginning again where they end; one of more than `most` rows in equal parts."""
    while True:
        count = 0
        for x, y in batches:
            count += 1
            parts = -(-len(x) // most) if most else 1
            yield from zip(x.tensor_split(parts), y.tensor_split(parts), strict=True)
        if not count:
            raise UserError(where, "needs batches of data, and there are none")


def gradients(function: Function, theta: Tensors, batch: Batch, *, graph: bool) -> dict[str, torch.Tensor]:
    """Of the loss by every parameter, 0 where the loss does not depend on it."""
    found = torch.autograd.grad(function(theta, batch), list(theta.values()), create_graph=graph, allow_unused=True)
    return {
        name: torch.zeros_like(value) if slope is None else slope
        for (name, value), slope in zip(theta.items(), found, strict=True)
    }
