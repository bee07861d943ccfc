"""Soft thresholds as a part of a training, with the search for a density.

The search trains copies of the network, as it was at the start and with the same streams, so the best of them is the
training that follows, bit for bit, unless the copies were shorter.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.learned.law import decay_to, raw_of
from sparse_ortho.learned.search import Found, search
from sparse_ortho.training.checkpoint import rng_state, set_rng_state
from sparse_ortho.training.clock import Clock
from sparse_ortho.training.learned import Learned

if TYPE_CHECKING:
    from sparse_ortho.training.options import TrainOptions
    from sparse_ortho.training.state import Run

LOG = logging.getLogger(__name__)


class Thresholded(Learned):
    rule: Any  # a learned/soft_threshold.py SoftThreshold

    def __init__(self, rule: Any):
        super().__init__(rule)
        self.target: float = rule.target_density
        self.pristine: torch.nn.Module | None = None
        self.frame: dict[str, torch.Tensor] = {}
        self.found: dict[str, float] = {}

    def begin(self, run: Run) -> None:
        assert run.masks is not None
        if self.target:
            if run.options.ranks > 1:
                where = "rule.soft_threshold.target_density"
                raise UserError(where, "is looked for by one process", found=run.options.ranks)
            self.pristine = copy.deepcopy(run.model)
            self.frame = {name: mask.clone() for name, mask in run.masks.items()}
        super().begin(run)

    def before_step(self, run: Run) -> None:
        if self.target and not self.found and self.live.steps == 0:
            self._search(run)
        super().before_step(run)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"found": dict(self.found)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.found = dict(state["found"])
        super().load_state_dict(state)

    def arrays(self) -> dict[str, Any]:
        return super().arrays() | {f"learned/{name}": np.array([value]) for name, value in self.found.items()}

    # the search --------------------------------------------------------------------------------------------------

    def _search(self, run: Run) -> None:
        """Before the first step, so that a resumed training does not search again."""
        epochs = self.rule.probe_epochs or run.options.epochs
        stretch = epochs / run.options.epochs  # a shorter training has the same product of decay and learning rates
        options = dataclasses.replace(run.options, epochs=epochs)
        with undisturbed(run):
            found = search(
                lambda decay: self._density(run, options, decay / stretch),
                self.target,
                first_decay(self.rule, run, self.pristine),
                tolerance=self.rule.tolerance,
                most=self.rule.probes,
            )
        self.pristine = None
        self.live.decay(found.value)
        self.found = {"found_s_decay": found.value, "found_density": found.density}
        self._tell(found, epochs)

    def _density(self, run: Run, options: TrainOptions, decay: float) -> float:
        from sparse_ortho.training.loop import train_seed

        model = copy.deepcopy(self.pristine)
        assert model is not None
        masks = {name: mask.clone() for name, mask in self.frame.items()}
        part = Thresholded(dataclasses.replace(self.rule, s_decay=decay, target_density=0.0))
        outcome = train_seed(model, run.splits, masks, options, run.streams, run.device, parts=[part])
        LOG.info("soft_threshold: s_decay %.4g leads to density %.4g", decay, outcome.record["density"])
        return outcome.record["density"]

    def _tell(self, found: Found, epochs: int) -> None:
        told = ", ".join(f"{decay:.4g}: {density:.4g}" for decay, density in found.tried)
        say = LOG.info if found.hit else LOG.warning
        say("soft_threshold: s_decay -> density of %d epochs: %s; asked %g", epochs, told, self.target)


def first_decay(rule: Any, run: Run, model: torch.nn.Module | None) -> float:
    """By the law of the decay alone, to the s whose threshold leaves the target of the first weights."""
    momentum = run.options.momentum if run.options.optimizer == "sgd" else 0.0
    values = [p.detach().abs().flatten().double().cpu() for name, p in (model or run.model).named_parameters()
              if name in (run.masks or {})]  # fmt: skip
    sizes = torch.cat(values).sort(descending=True).values
    threshold = min(0.499, float(sizes[min(len(sizes) - 1, math.ceil(rule.target_density * len(sizes)))]))
    rates = sum_of_rates(run.options, len(run.splits["train"]))
    try:
        return decay_to(rule.s_init, raw_of(max(threshold, 1e-8), rule.function), rates, momentum)
    except UserError:
        return 1e-3  # of no consequence but the number of trainings


def sum_of_rates(options: TrainOptions, images: int) -> float:
    """Over all steps of a training."""
    clock, total = Clock(options, images), 0.0
    while clock.epoch < options.epochs:
        for _ in range(clock.steps_per_epoch):
            total += clock.lr
            clock.end_step()
        clock.end_epoch()
    return total


@contextlib.contextmanager
def undisturbed(run: Run) -> Iterator[None]:
    """Whatever is trained inside, the generators go on from where they were."""
    before = rng_state(run.device)
    try:
        yield
    finally:
        set_rng_state(before, run.device)
