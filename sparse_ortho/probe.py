"""What a score or an initialisation may look at: the model, its maskable weights, and data when it asked for them.

A method that reads data says so with a module-level `NEEDS = ("data",)`, one whose score reads weights with
`NEEDS = ("weights",)`; the plan reads this from the source, and the stage builds the probe accordingly. Without
"weights" the tensors live on torch's meta device: shapes only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NEEDS = ("weights", "data")


@dataclass(frozen=True)
class Probe:
    model: torch.nn.Module
    weights: dict[str, torch.Tensor]  # maskable weights by parameter name, in the model's order
    batches: Sequence[tuple[torch.Tensor, torch.Tensor]] | None = None
    loss: Callable[[Any, Any], torch.Tensor] | None = None
    shape: tuple[int, ...] | None = None  # of one input, without the batch; when None, that of the first batch
    whole: dict[str, torch.Tensor] | None = None  # in rounds of pruning: the weights before the first, none of them 0
    memo: dict[str, Any] | None = None  # in rounds of pruning: what a score keeps from one to the next

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(weight.shape) for name, weight in self.weights.items()}
