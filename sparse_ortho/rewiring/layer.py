"""What a rule may look at: one masked weight with its gradient and what the optimizer keeps about it.

    momentum   SGD: its buffer;   Adam, AdamW: m / (sqrt(v) + eps), without the correction of the first steps
    deviation  sqrt(v), of Adam and AdamW only

Both are dense: at masked places, where the weight is 0, the optimizer goes on summing up the gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sparse_ortho.errors import UserError

if TYPE_CHECKING:
    from sparse_ortho.probe import Probe


@dataclass(frozen=True)
class Layer:
    name: str
    weight: torch.Tensor
    mask: torch.Tensor  # True where active
    gradient: torch.Tensor | None = None  # of the last batch; None where the loss did not depend on the weight
    state: Mapping[str, Any] = field(default_factory=dict)  # the optimizer's
    eps: float = 1e-8
    rng: Callable[[], np.random.Generator] | None = None  # a stream of this layer and step
    barred: torch.Tensor | None = None  # inactive, but not to be grown in this update
    frame: torch.Tensor | None = None  # nothing grows outside of it
    known: int | None = None  # the number of active weights, if somebody has counted them (for all layers at once)
    probe: Callable[[], Probe] | None = None  # the network and a batch, for criteria that look further than a gradient

    @functools.cached_property
    def active(self) -> int:
        return int(self.mask.count_nonzero()) if self.known is None else self.known

    @property
    def size(self) -> int:
        return self.mask.numel()

    @property
    def free(self) -> torch.Tensor:
        """Where a weight may grow."""
        free = ~self.mask if self.barred is None else ~(self.mask | self.barred)
        return free if self.frame is None else free & self.frame

    @property
    def room(self) -> int:
        """How many places are not taken."""
        return (self.size if self.frame is None else int(self.frame.count_nonzero())) - self.active

    @functools.cached_property
    def magnitude(self) -> torch.Tensor:
        return finite(self.weight.detach().abs())

    @functools.cached_property
    def slope(self) -> torch.Tensor:
        """The gradient of the last batch; 0 where there is none."""
        return torch.zeros_like(self.weight) if self.gradient is None else finite(self.gradient.detach())

    @property
    def steepness(self) -> torch.Tensor:
        """|gradient|."""
        return self.slope.abs()

    @functools.cached_property
    def momentum(self) -> torch.Tensor:
        """|momentum|."""
        if (buffer := self.state.get("momentum_buffer")) is not None:
            return finite(buffer.abs())
        if "exp_avg" in self.state:
            return finite((self.state["exp_avg"] / (self.deviation + self.eps)).abs())
        raise UserError(self.name, "the rule reads momentum, and the optimizer keeps none for this weight")

    @functools.cached_property
    def deviation(self) -> torch.Tensor:
        if "exp_avg_sq" not in self.state:
            raise UserError(self.name, "the rule reads the second moment, which only Adam and AdamW keep")
        return finite(self.state["exp_avg_sq"].sqrt())

    def with_mask(self, mask: torch.Tensor, known: int, barred: torch.Tensor | None = None) -> Layer:
        return replace(self, mask=mask, known=known, barred=barred)


def finite(values: torch.Tensor) -> torch.Tensor:
    """A run that diverges ends by itself and says so; until then NaN counts as 0, and infinity as very much."""
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        with np.errstate(all="ignore"):
            if np.isfinite(values.numpy().sum()):  # as nearly always; a third of the time of nan_to_num
                return values
    return torch.nan_to_num(values, nan=0.0)
