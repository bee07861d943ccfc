"""Values in the order in which they lie in memory: in channels_last that is another one than that of their indices."""

from __future__ import annotations

import torch


def in_memory(values: torch.Tensor) -> torch.Tensor:
    """All values of a dense tensor as a vector that shares their memory."""
    return values.as_strided((values.numel(),), (1,))


def spots(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Where in that vector the values stand whose numbers, in the order of the indices, are `places`."""
    if values.is_contiguous():
        return places
    steps = zip(torch.unravel_index(places, values.shape), values.stride(), strict=True)
    return torch.stack([index * stride for index, stride in steps]).sum(0)
