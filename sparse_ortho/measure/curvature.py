"""The Hessian of the loss on the weights that survive, as an operator: products with it, and how many were made.

    H v = d/dw ( g(w)' v ),   g = dL/dw,   of the mean loss over some images, in evaluation mode  (Pearlmutter, 1994)

A vector has one number for each surviving weight, layer by layer, so what the mask takes is no coordinate at all: the
same as projecting with the mask before and after, in less memory. Biases and normalisation stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from sparse_ortho.masks import maskable
from sparse_ortho.measure.jacobian import evaluating
from sparse_ortho.measure.subject import Batch, Loss


class Curvature:
    """`curvature(v)` is H v; `products` counts them."""

    def __init__(self, model: nn.Module, masks: Mapping[str, torch.Tensor], batches: Sequence[Batch], loss: Loss):
        self._model, self._batches, self._loss = model, batches, loss
        self._weights = maskable(model)
        self._places = {name: masks[name].reshape(-1).nonzero().squeeze(1) for name in self._weights}
        self._images = sum(len(y) for _, y in batches)
        self.products = 0

    @property
    def size(self) -> int:
        """The number of surviving weights."""
        return sum(len(places) for places in self._places.values())

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        self.products += 1
        direction, weights = self.scattered(vector), list(self._weights.values())
        total = torch.zeros_like(vector)
        with torch.enable_grad(), evaluating(self._model):
            for x, y in self._batches:
                share = self._loss(self._model(x), y) * (len(y) / self._images)
                slope = torch.autograd.grad(share, weights, create_graph=True)
                along = torch.stack([(g * d).sum() for g, d in zip(slope, direction, strict=True)]).sum()
                bent = torch.autograd.grad(along, weights, materialize_grads=True)
                total += self.gathered(bent)
        return total

    def gradient(self) -> torch.Tensor:
        """Of the same loss, on the surviving weights."""
        weights = list(self._weights.values())
        with torch.enable_grad(), evaluating(self._model):
            losses = [self._loss(self._model(x), y) * (len(y) / self._images) for x, y in self._batches]
            return self.gathered(torch.autograd.grad(torch.stack(losses).sum(), weights, materialize_grads=True))

    def scattered(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """A vector as tensors of the layers' shapes, zero where nothing survives."""
        parts = vector.split([len(places) for places in self._places.values()])
        return [
            weight.new_zeros(weight.numel()).index_copy_(0, places, part).view_as(weight)
            for weight, places, part in zip(self._weights.values(), self._places.values(), parts, strict=True)
        ]

    def gathered(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        pairs = zip(tensors, self._places.values(), strict=True)
        return torch.cat([tensor.reshape(-1).index_select(0, places) for tensor, places in pairs])

    def drawn(self, random: np.random.Generator, *, signs: bool = False) -> torch.Tensor:
        """A random vector of the weights' type: normal numbers, or signs."""
        like = next(iter(self._weights.values()))
        numbers = random.integers(0, 2, self.size) * 2.0 - 1 if signs else random.standard_normal(self.size)
        return torch.from_numpy(numbers).to(like.device, like.dtype)
