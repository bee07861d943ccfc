"""A faster form of a model for its training steps. Evaluations, masks and checkpoints use the model itself.

`channels_last` lays images out as the convolutions of most devices like them. `compile` generates code for the model;
on CUDA it also records the kernels of a step once and replays them (CUDA graphs), which is what networks of a thousand
small layers wait for. Both round differently from the plain form, so they are fields of the spec.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sparse_ortho.training.options import TrainOptions

Forward = Callable[[torch.Tensor], torch.Tensor]


def faster(model: torch.nn.Module, options: TrainOptions) -> Forward:
    """`model` in place, and what a step calls instead of it."""
    forward: Forward = model
    if options.compile:
        torch.use_deterministic_algorithms(True)  # devices.prepare tells only torch itself; the compiler asks this
        on_cuda = next(model.parameters()).is_cuda
        compiled: Any = torch.compile(model, dynamic=False, mode="reduce-overhead" if on_cuda else None)
        forward = compiled
    if not options.channels_last:
        return forward
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return lambda x: forward(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x)
