"""Loss and accuracy of a model at other weights than its own, on a few batches, in evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.func import functional_call

from sparse_ortho.measure.jacobian import evaluating
from sparse_ortho.measure.subject import Batch, Loss

Tensors = Mapping[str, torch.Tensor]


def score(model: nn.Module, tensors: Tensors, batches: Sequence[Batch], loss: Loss) -> tuple[float, float]:
    """Mean loss and accuracy in percent with `tensors` in the place of the parameters and buffers of their names."""
    images = sum(len(y) for _, y in batches)
    losses, correct = [], 0
    with torch.inference_mode(), evaluating(model):
        for x, y in batches:
            logits = functional_call(model, dict(tensors), (x,))
            losses.append(float(loss(logits, y)) * len(y))
            chosen = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
            correct += int((chosen == y).sum())
    whole = math.fsum(losses) if all(map(math.isfinite, losses)) else math.nan
    return whole / images, 100.0 * correct / images
