"""A rule: when the topology of a network changes in training, and how. What a method is, is the values of its rule.

An update keeps the number of active weights, or, with a final density, brings it down to that (timetable.py has both
paths); by its criteria, if it has some, it drops weights and lets others grow (engine.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sparse_ortho import ranges
from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.rewiring.engine import Criteria
from sparse_ortho.rewiring.live import Rewiring
from sparse_ortho.rewiring.norms import OVER
from sparse_ortho.streams import Streams

CHOICES = {
    "decay": ("constant", "cosine", "linear"),
    "path": ("cubic", "linear", "geometric"),
    "regrown_value": ("zero", "keep", "random"),
    "momentum_reset": (False, True, "mean"),
    "moment": ("after_step", "before_step", "instead_of_step"),
    "scope": ("global", "even"),
    "restore_norm": OVER,
    "flow": ("none", "start", "updates", "always"),
    "flow_growth": ("random", "gradient"),
    "within": ("anywhere", "start"),
}


@dataclass(frozen=True)
class Rule:
    name: str
    every: str = ""  # lengths of time are "10ep", "500it" or a fraction of the training; "": never
    start: str = "0it"
    stop: str = "1.0"
    criteria: Criteria | None = None
    fraction: float = 0.0
    decay: str = "constant"
    end: float = 0.0  # what the fraction decays to
    final_density: float | None = None
    density_stop: str = "1.0"
    scope: str = "global"  # what thins out: all layers together, or each by itself
    regrown_value: str = "zero"  # of a weight that grows; "keep": one that has just been dropped keeps its own
    momentum_reset: bool | str = False  # the optimizer forgets about weights that start from 0, or thinks of the mean
    masked_momentum: bool = False  # after every step the optimizer forgets about masked weights
    moment: str = "after_step"
    restore_norm: str = "none"  # of the weights that stay in an update: of the layer, of each output or input
    overlap: bool = False  # how far six criteria agree at each update
    once: bool = False  # only the first update
    flow: str = "none"  # when weights move to units that have none
    flow_growth: str = "random"
    within: str = "anywhere"  # where weights grow: "start": only where the first mask has some
    path: str = "cubic"  # of the number of weights, from the first to that of final_density
    leave: tuple[str, ...] = ()  # layers whose masks stay as they are: names of weights, as patterns

    live = Rewiring  # what `begin` puts to work; a method with a life of its own has a Rule with another one
    limits = {}  # RANGES of a method, where it has options of its own

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UserError(self.where(name), "unknown choice", found=getattr(self, name), allowed=allowed)
        for name in ("fraction", "end"):
            value: Any = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise UserError(self.where(name), "out of range", found=value, allowed="[0, 1]")
        if self.within == "start" and self.flow != "none":
            raise UserError(self.where("flow"), "moves weights anywhere, and within is start", found=self.flow)
        if self.leave and self.flow != "none":
            raise UserError(self.where("flow"), "moves weights of every layer, and leave names some", found=self.flow)
        if self.final_density is not None:
            budget(self.final_density, 1, self.where("final_density"))
        ranges.refuse(self.limits, vars(self), f"rule.{self.name}")

    @property
    def moves(self) -> bool:
        """Whether it lets weights come, until `stop`."""
        return self.live.grows or (self.criteria is not None and self.criteria.grow is not None)

    def where(self, option: str) -> str:
        """The option as whoever wrote the rule knows it: what only thins out has one end, and calls it stop."""
        one = not self.moves or self.stop == self.density_stop
        option = "stop" if option == "density_stop" and one else option
        return f"rule.{self.name}.{option}"

    def text(self) -> str:
        """What tells one rule from another, without addresses of functions."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        criteria = self.criteria.text() if self.criteria else None
        return repr(fields | {"criteria": criteria})

    def begin(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        masks: Mapping[str, torch.Tensor],
        streams: Streams,
        *,
        steps_per_epoch: int | None = None,
        total_steps: int | None = None,
    ) -> Rewiring:
        """At work on the weights of a model; they are masked at once."""
        lengths = {"steps_per_epoch": steps_per_epoch, "total_steps": total_steps}
        return self.live(self, model, optimizer, masks, streams, **lengths)


def chosen(table: Mapping[str, Any], name: str, where: str) -> Any:
    """The function that an option names."""
    if name not in table:
        raise UserError(where, "unknown choice", found=name, allowed=table)
    return table[name]
