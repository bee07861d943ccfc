"""What may be added to a training without the loop knowing it: a Part. And the one part of every sparse run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.masks import plain_name

if TYPE_CHECKING:
    from sparse_ortho.training.state import Run


class Part:
    """Does nothing at every point where a part may act; override what is needed.

    `state_dict` is one flat dict of tensors, arrays and plain data: all that changes over time and that the model and
    the optimizer do not hold. It is restored after `begin`.
    """

    owns_masks: bool = False  # True: this part keeps the masked weights at zero, and `run.masks` up to date
    about: str = ""  # what a part is told; a checkpoint of one that was told otherwise is another run's

    def begin(self, run: Run) -> None: ...

    def loss(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor | None:
        """The loss instead of cross-entropy; the first part that returns one decides."""

    def before_step(self, run: Run) -> None:
        """Between the gradient and the optimizer's step."""

    def after_step(self, run: Run) -> None:
        """After a step that was taken; a step that float16 had to skip is none."""

    def end_epoch(self, run: Run) -> None:
        """After the last step of an epoch, before the evaluation."""

    def evaluating(self, run: Run) -> contextlib.AbstractContextManager[None]:
        """Around an evaluation at the end of an epoch."""
        return contextlib.nullcontext()

    def end(self, run: Run) -> None:
        """After the last epoch: the model as it is now is the result."""

    def facts(self) -> dict[str, int]:
        """Numbers for the record; those that several parts name are added up."""
        return {}

    def row(self) -> dict[str, Any]:
        """Numbers for the row of the curves that comes next, by column."""
        return {}

    def arrays(self) -> dict[str, Any]:
        """Arrays to keep beside the weights: what the network needs that its own tensors do not hold."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class StaticMasks(Part):
    """Masked weights are exactly 0 at the start and after every step; gradients and momentum stay dense."""

    owns_masks = True

    def __init__(self, masks: Mapping[str, torch.Tensor]):
        self.masks = masks
        self.weights: list[torch.Tensor] = []
        self.factors: list[torch.Tensor] = []

    def begin(self, run: Run) -> None:
        parameters = {plain_name(name): p for name, p in run.model.named_parameters(remove_duplicate=False)}
        self.weights, self.factors = [], []
        for name, mask in self.masks.items():
            weight = parameters.get(name)
            if weight is None:
                raise UserError(f"masks.{name}", "the model has no such parameter", found=name, allowed=parameters)
            if weight.shape != mask.shape:
                raise UserError(f"masks.{name}", f"has shape {tuple(mask.shape)}, the weight {tuple(weight.shape)}")
            if not bool(mask.all()):  # a dense layer needs no multiplication
                self.weights.append(weight)
                self.factors.append(mask.to(device=weight.device, dtype=weight.dtype))
        self.after_step(run)

    @torch.no_grad()
    def after_step(self, run: Run) -> None:
        if self.weights:
            torch._foreach_mul_(self.weights, self.factors)  # pyright: ignore[reportPrivateImportUsage]
