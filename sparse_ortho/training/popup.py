"""Edge-popup as a part of a training, with what the released program does between epochs and levels.

scaling   after the last step of an epoch the network is scaled to the last batch (learned/scaling.py), and from
          then on the learning rate is over the product of all scales so far
restart   the schedule of the learning rate is that of one level, epochs / levels long, and begins anew with each
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.training.clock import Clock
from sparse_ortho.training.learned import Learned

if TYPE_CHECKING:
    from sparse_ortho.training.state import Run


class PoppedUp(Learned):
    rule: Any  # a learned/edge_popup.py EdgePopup

    def __init__(self, rule: Any):
        super().__init__(rule)
        self.level: Clock | None = None  # of one level, if the learning rate begins anew
        self.scale = 1.0  # product over the epochs so far
        self.batch: tuple[torch.Tensor, torch.Tensor] | None = None  # logits and labels of the last step

    def begin(self, run: Run) -> None:
        if self.rule.scaling and run.options.ranks > 1:
            raise UserError(self.rule.where("scaling"), "is fitted by one process", found=run.options.ranks)
        if self.rule.restart:
            epochs, left = divmod(run.options.epochs, self.rule.levels)
            if left:
                problem = f"needs levels of whole epochs, and there are {run.options.epochs} in all"
                raise UserError(self.rule.where("restart"), problem, found=self.rule.levels)
            self.level = Clock(dataclasses.replace(run.options, epochs=epochs), len(run.splits["train"]))
        super().begin(run)
        self.live.driven = True

    def loss(self, logits: torch.Tensor, y: torch.Tensor) -> None:
        """Nothing instead of cross-entropy; what the scale is fitted to."""
        if self.rule.scaling:
            self.batch = logits.detach(), y

    def before_step(self, run: Run) -> None:
        if self.level is not None or self.rule.scaling:
            rate = self._rate(run)
            for group in run.optimizer.param_groups:
                group["lr"] = rate
        super().before_step(run)

    def _rate(self, run: Run) -> float:
        clock = run.clock
        if self.level is not None:
            clock = self.level
            clock.epoch, clock.step = run.clock.epoch % clock.options.epochs, run.clock.step
        return clock.lr / self.scale

    def end_epoch(self, run: Run) -> None:
        if self.batch is not None:
            self.scale *= self.live.scale_to(*self.batch)
            self.batch = None
        super().end_epoch(run)

    def arrays(self) -> dict[str, Any]:
        return super().arrays() | ({"learned/scale": np.array([self.scale])} if self.rule.scaling else {})

    def state_dict(self) -> dict[str, Any]:
        """With the last batch, since a run may be cut between the last step of an epoch and its end."""
        logits, labels = self.batch or (None, None)
        return super().state_dict() | {"scale": self.scale, "logits": logits, "labels": labels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.scale = state["scale"]
        self.batch = None if state["logits"] is None else (state["logits"], state["labels"])
        super().load_state_dict(state)
