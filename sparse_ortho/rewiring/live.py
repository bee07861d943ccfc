"""A rule at work in one training: it counts the steps taken, moves the masks, and keeps masked weights at exactly 0.

Around every optimizer step:  before_step(), the step, and, if the step was taken, after_step(). A step that float16 had
to skip is none: it moves neither the clock nor a mask. What a resumed run needs is in `state_dict`: random growth draws
from streams named by layer and step, so there is no generator to keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks, plain_name
from sparse_ortho.rewiring import moments
from sparse_ortho.rewiring.engine import Change, update
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.timetable import Timetable
from sparse_ortho.streams import Streams

if TYPE_CHECKING:
    from sparse_ortho.rewiring.rule import Rule


class Rewiring:
    def __init__(
        self,
        rule: Rule,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        masks: Mapping[str, torch.Tensor],
        streams: Streams,
        *,
        steps_per_epoch: int | None = None,
        total_steps: int | None = None,
    ):
        self.rule, self.optimizer, self.streams = rule, optimizer, streams
        self.masks = Masks(masks, model)
        known = {plain_name(name): p for name, p in model.named_parameters(remove_duplicate=False)}
        self.weights = {name: known[name] for name in self.masks}
        moments.refuse(optimizer, self.weights)
        self.times = Timetable.of(rule, steps_per_epoch, total_steps)
        self.first = self.masks.nonzeros
        if rule.final_density is not None and budget(rule.final_density, self.masks.size) > self.first:
            raise UserError(rule.where("final_density"), f"is above that of the masks, {self.masks.density:.6g}")
        self.steps = self.updates = 0
        self.memory: dict[str, float] = {}
        self.last: dict[str, dict[str, int]] = {}
        self.withheld: list[tuple[torch.Tensor, torch.Tensor | None]] = []
        self._factors: dict[str, torch.Tensor] = {}
        self.masks.apply_()

    def replaces(self) -> bool:
        """Whether the step to come is replaced by an update."""
        return self.rule.moment == "instead_of_step" and self.times.due(self.steps + 1)

    def before_step(self, *, scaled: bool = False) -> bool:
        """Whether the masks have moved. `scaled`: gradients that are not finite mean that the step will be skipped."""
        self.withheld = []
        if self.replaces():  # without gradients the optimizer moves no weight and no momentum
            self.withheld = [(p, p.grad) for p in moments.trained(self.optimizer)]
            for p, _ in self.withheld:
                p.grad = None
        if self.rule.moment != "before_step" or not self.times.due(self.steps + 1):
            return False
        if scaled and not self._gradients_are_finite():
            return False
        self.rewire(self.steps + 1)
        return True

    def after_step(self) -> bool:
        """Whether the masks have moved."""
        for p, gradient in self.withheld:
            p.grad = gradient
        self.withheld = []
        self.steps += 1
        moved = self.rule.moment != "before_step" and self.times.due(self.steps)
        if moved:
            self.rewire(self.steps)
        self.masks.apply_()
        if self.rule.masked_momentum:
            moments.mask(self.optimizer, self.weights, self.factors())
        return moved

    def factors(self) -> dict[str, torch.Tensor]:
        """The masks as numbers, made when they have moved. On LeNet-300-100 a product takes 20 us, a fill 170 us."""
        if not self._factors:
            self._factors = {name: self.masks[name].to(weight.dtype) for name, weight in self.weights.items()}
        return self._factors

    @torch.no_grad()
    def rewire(self, step: int) -> None:
        """The update that belongs to a step."""
        layers = {name: self._layer(name, step) for name in self.masks}
        total = self.times.total(step, self.first, self.masks.size)
        fraction, evenly = self.times.fraction(step), self.rule.scope == "even"
        change = update(layers, self.rule.criteria, fraction, total, self.memory, evenly)
        for name, layer in layers.items():
            self._write(layer, change, self.weights[name])
        self.updates += 1
        self._factors = {}

    def _layer(self, name: str, step: int) -> Layer:
        weight = self.weights[name]
        return Layer(
            name=name,
            weight=weight.detach(),
            mask=self.masks[name].clone(),
            gradient=weight.grad,
            state=self.optimizer.state.get(weight, {}),
            eps=moments.eps_of(self.optimizer),
            rng=lambda: self.streams("rewiring", f"{name}/{step}"),
        )

    def _write(self, layer: Layer, change: Change, weight: torch.Tensor) -> None:
        mask, grown = change.masks[layer.name], change.grown[layer.name]
        fresh = grown & ~layer.mask if self.rule.regrown_value == "keep" else grown
        weight.masked_fill_(fresh | ~mask, 0)
        if self.rule.momentum_reset:
            moments.forget(self.optimizer, weight, fresh)
        self.masks.update_({layer.name: mask})
        came, active = int(grown.count_nonzero()), int(mask.count_nonzero())
        self.last[layer.name] = {"active": active, "dropped": layer.active - (active - came), "grown": came}

    def _gradients_are_finite(self) -> bool:
        gradients = [p.grad for p in moments.trained(self.optimizer)]
        return all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)

    def state_dict(self) -> dict[str, Any]:
        counters = {"steps": self.steps, "updates": self.updates, "memory": self.memory, "last": self.last}
        return {"rule": self.rule.name, "first": self.first, **counters, "masks": dict(self.masks)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("rule") != self.rule.name:
            raise UserError("state", "belongs to another rule", found=state.get("rule"), allowed=[self.rule.name])
        given = {plain_name(name): mask.shape for name, mask in state["masks"].items()}
        if given != {name: mask.shape for name, mask in self.masks.items()}:
            raise UserError("state", "holds masks of other parameters or shapes", found=sorted(given))
        self.masks.update_(state["masks"])
        self._factors = {}
        self.steps, self.updates, self.first = state["steps"], state["updates"], state["first"]
        self.memory, self.last = dict(state["memory"]), {name: dict(value) for name, value in state["last"].items()}
        self.masks.apply_()
