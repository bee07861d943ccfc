"""A rule as a part of a training: it owns the masks, which change as it says.

A rule comes with all that it is made of (rewiring/rule.py), so that no training depends on the code of a rule that it
does not use. `run.masks` are overwritten in place: whoever handed them in sees those of the end.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.training.parts import Part

if TYPE_CHECKING:
    from sparse_ortho.rewiring.live import Rewiring
    from sparse_ortho.rewiring.rule import Rule
    from sparse_ortho.training.state import Run


class Rewired(Part):
    owns_masks = True

    def __init__(self, rule: Rule):
        self.rule = rule
        self.about = rule.text()
        self.live: Rewiring
        self.given: Mapping[str, torch.Tensor]

    def begin(self, run: Run) -> None:
        assert run.masks is not None
        clock, self.given = run.clock, run.masks
        lengths = {"steps_per_epoch": clock.steps_per_epoch, "total_steps": clock.total_steps}
        self.live = self.rule.begin(run.model, run.optimizer, run.masks, run.streams, **lengths)
        self.live.batches = functools.partial(_batch, run)
        self._publish()  # some rules move the masks before the first step

    def before_step(self, run: Run) -> None:
        if self.live.before_step(scaled=run.precision.scaler is not None):
            self._publish()

    def after_step(self, run: Run) -> None:
        if self.live.after_step():
            self._publish()

    def facts(self) -> dict[str, int]:
        return self.live.facts()

    def state_dict(self) -> dict[str, Any]:
        return self.live.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.live.load_state_dict(state)
        self._publish()

    def _publish(self) -> None:
        for name, mask in self.given.items():
            mask.copy_(self.live.masks[name])


def _batch(run: Run, step: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """As many training images as a step has, without augmentation, drawn for the update of this step."""
    split = run.splits["train"]
    size = min(run.options.batch_size, len(split))
    rows = run.streams("rewiring", f"batch/{step}").choice(len(split), size, replace=False)
    return [split.take(torch.from_numpy(rows).to(split.rows_on))]
