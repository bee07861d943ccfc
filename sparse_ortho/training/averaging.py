"""A running mean of the weights (Polyak, Juditsky 1992, in its exponential form), evaluated in their place.

    a <- a + (1 - decay) (w - a)   after every step that was taken, starting from the initialisation

Masks are laid over the mean too, so a weight that a rule has pruned is exactly 0 in it. Floating buffers (statistics of
BatchNorm) are averaged alike. The mean is what every evaluation sees and what the run leaves in the model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.masks import plain_name
from sparse_ortho.training.parts import Part

if TYPE_CHECKING:
    from sparse_ortho.training.state import Run


class WeightAverage(Part):
    def __init__(self, decay: float):
        self.decay = decay
        self.names: list[str] = []
        self.now: list[torch.Tensor] = []
        self.mean: list[torch.Tensor] = []

    def begin(self, run: Run) -> None:
        held = {name: value for name, value in run.model.state_dict().items() if value.is_floating_point()}
        self.names, self.now = list(held), list(held.values())  # state_dict shares memory with the model
        self.mean = [value.clone() for value in self.now]

    @torch.no_grad()
    def after_step(self, run: Run) -> None:
        torch._foreach_lerp_(self.mean, self.now, 1 - self.decay)  # pyright: ignore[reportPrivateImportUsage]

    @contextlib.contextmanager
    def evaluating(self, run: Run) -> Iterator[None]:
        kept = [value.clone() for value in self.now]
        self._show(run)
        try:
            yield
        finally:
            torch._foreach_copy_(self.now, kept)  # pyright: ignore[reportPrivateImportUsage]

    def end(self, run: Run) -> None:
        self._show(run)

    @torch.no_grad()
    def _show(self, run: Run) -> None:
        masks = run.masks or {}
        for name, mean in zip(self.names, self.mean, strict=True):
            if (mask := masks.get(plain_name(name))) is not None:
                mean.masked_fill_(~mask.to(mean.device), 0)
        torch._foreach_copy_(self.now, self.mean)  # pyright: ignore[reportPrivateImportUsage]

    def state_dict(self) -> dict[str, Any]:
        return dict(zip(self.names, self.mean, strict=True))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        torch._foreach_copy_(self.mean, [state[name] for name in self.names])  # pyright: ignore[reportPrivateImportUsage]
