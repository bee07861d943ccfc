"""The weights early in a training, for tickets that go back there and not to the initialisation.

Frankle, Dziugaite, Roy, Carbin, "Linear Mode Connectivity and the Lottery Ticket Hypothesis", ICML 2020: w_k after k
steps. Nothing is changed before that step, so the copy is what the whole training has there, bit for bit; the epoch is
ended and the rest is left out. If float16 has to skip just that step, the copy is taken after the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.schedules import duration
from sparse_ortho.training.parts import Part

if TYPE_CHECKING:
    from sparse_ortho.training.state import Run


class KeptEarly(Part):
    def __init__(self, at: str):
        self.about = self.at = at
        self.steps = 0
        self.kept: dict[str, torch.Tensor] = {}

    def begin(self, run: Run) -> None:
        clock, where = run.clock, "ticket.rewind"
        self.steps = duration(self.at, clock.steps_per_epoch, clock.total_steps, where)
        if self.steps > clock.total_steps:
            ends = f"is after the end of a training of {clock.total_steps} steps"
            raise UserError(where, ends, found=self.at)
        if self.steps == 0:
            self._keep(run)

    def after_step(self, run: Run) -> None:
        if not self.kept and run.clock.steps + 1 >= self.steps:
            self._keep(run)

    def end_epoch(self, run: Run) -> None:
        if self.kept:
            run.clock.epoch = run.options.epochs - 1  # so that this epoch is the last

    def _keep(self, run: Run) -> None:
        self.kept = {name: value.detach().clone().cpu() for name, value in run.model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.kept)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.kept = dict(state)
