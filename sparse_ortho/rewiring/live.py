"""A rule at work in one training: it counts the steps taken, moves the masks, and keeps masked weights at exactly 0.

Around every optimizer step:  before_step(), the step, and, if the step was taken, after_step(). A step that float16 had
to skip is none: it moves neither the clock nor a mask. What a resumed run needs is in `state_dict`: random growth draws
from streams named by layer and step, so there is no generator to keep.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks, groups_of, plain_name
from sparse_ortho.probe import Probe
from sparse_ortho.rewiring import moments
from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.drops import Counts, Layers, Marks
from sparse_ortho.rewiring.engine import Change, update
from sparse_ortho.rewiring.flow import preserved
from sparse_ortho.rewiring.fresh import redraw_
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.norms import restored
from sparse_ortho.rewiring.overlap import overlaps
from sparse_ortho.rewiring.timetable import Timetable
from sparse_ortho.streams import Streams

if TYPE_CHECKING:
    from sparse_ortho.rewiring.rule import Rule

Batches = Sequence[tuple[torch.Tensor, torch.Tensor]]


class Rewiring:
    grows = False  # True: weights come in its updates, whatever criteria the rule has
    works_on_gradients = False  # True: before_step changes gradients, which a scaler must have unscaled by then

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
        self.rule, self.model, self.optimizer, self.streams = rule, model, optimizer, streams
        self.masks = Masks(masks, model)
        known = {plain_name(name): p for name, p in model.named_parameters(remove_duplicate=False)}
        self.weights = {name: known[name] for name in self.masks}
        moments.refuse(optimizer, self.weights)
        self.moving = self._moving(rule.leave)
        self.times = Timetable.of(rule, steps_per_epoch, total_steps)
        self.first = self.masks.nonzeros
        if rule.final_density is not None and budget(rule.final_density, self.masks.size) > self.first:
            raise UserError(rule.where("final_density"), f"is above that of the masks, {self.masks.density:.6g}")
        self.steps = self.updates = 0
        self.memory: dict[str, Any] = {}
        self.last: dict[str, dict[str, int]] = {}
        self.withheld: list[tuple[torch.Tensor, torch.Tensor | None]] = []
        self._factors: dict[str, torch.Tensor] = {}
        self.overlaps: list[dict[str, float]] = []  # of each update, if the rule asks for them
        self.repaired = 0  # weights that moved to dead units
        self.batches: Callable[[int], Batches] | None = None  # step -> training data, for criteria that read some
        self.loss: Callable[[Any, Any], torch.Tensor] | None = None
        self.watch = getattr(rule.criteria.drop, "watch", None) if rule.criteria else None
        if self.watch or rule.moment == "before_step":
            self.works_on_gradients = True
        self.masks.apply_()
        held = self.masks.items() if rule.within == "start" else ()
        self.frame = {name: mask.clone() for name, mask in held}
        if rule.flow in ("start", "always"):
            self._preserve_flow(0, {})

    def replaces(self) -> bool:
        """Whether the step to come is replaced by an update."""
        return self.rule.moment == "instead_of_step" and self.due(self.steps + 1)

    def before_step(self, *, scaled: bool = False) -> bool:
        """Whether the masks have moved. `scaled`: gradients that are not finite mean that the step will be skipped."""
        self.withheld = []
        skipped = scaled and self.works_on_gradients and not self._gradients_are_finite()
        if self.watch and self.rule.criteria and not skipped:
            self.watch({name: self._layer(name) for name in self.moving}, self.memory, self.rule.criteria.gamma)
        if self.replaces():  # without gradients the optimizer moves no weight and no momentum
            self.withheld = [(p, p.grad) for p in moments.trained(self.optimizer)]
            for p, _ in self.withheld:
                p.grad = None
        if self.rule.moment != "before_step" or not self.due(self.steps + 1):
            return False
        if skipped:
            return False
        self.rewire(self.steps + 1)
        return True

    def after_step(self) -> bool:
        """Whether the masks have moved."""
        for p, gradient in self.withheld:
            p.grad = gradient
        self.withheld = []
        self.steps += 1
        moved = self.rule.moment != "before_step" and self.due(self.steps)
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
        active = counts({name: self.masks[name] for name in self.moving})
        layers = {name: self._layer(name, step, active[name]) for name in self.moving}
        change = self.change(layers, step)
        for name, layer in layers.items():
            self._write(layer, change, self.weights[name], step)
        came, left = counts(change.grown), counts(change.masks)
        self.last = {n: {"active": left[n], "dropped": active[n] - (left[n] - came[n]), "grown": came[n]} for n in left}
        if self.rule.flow in ("updates", "always"):
            self._preserve_flow(step, layers)
        self.updates += 1
        self._factors = {}

    def change(self, layers: Mapping[str, Layer], step: int) -> Change:
        """What the rule makes of the layers. A method that is no sequence of criteria has its own."""
        fraction, evenly = self.times.fraction(step), self.rule.scope == "even"
        watcher = functools.partial(self._compare, step) if self.rule.overlap else None
        return update(layers, self.rule.criteria, fraction, self.total(step), self.memory, evenly, watcher)

    def total(self, step: int) -> int:
        """How many weights there are after an update."""
        return self.times.total(step, self.first, self.masks.size)

    def due(self, step: int) -> bool:
        return self.times.due(step)

    def facts(self) -> dict[str, Any]:
        """What else a method has to tell: columns of the record, beside its masks."""
        return {}

    def _compare(self, step: int, layers: Layers, leave: Counts, gone: Marks) -> None:
        self.overlaps.append({"step": step} | overlaps(layers, leave, gone))

    @torch.no_grad()
    def _preserve_flow(self, step: int, layers: Layers) -> None:
        """Weights move to dead units: at the start with their values, in an update to start from 0 like what grows."""
        steep = self.rule.flow_growth == "gradient"
        slopes = {name: layer.steepness for name, layer in layers.items()} if steep else None
        sizes = {name: weight.detach().abs() for name, weight in self.weights.items()}
        grouped = [name for name, groups in groups_of(self.model).items() if groups > 1]
        rng = lambda name: self.streams("rewiring", f"flow/{name}/{step}")  # noqa: E731
        for name, (mask, moves) in preserved(self.masks, sizes, grouped, rng, slopes or None).items():
            weight = self.weights[name]
            flat = weight.detach().reshape(-1).clone()  # not a view: in channels_last there is none
            gone, came = torch.tensor(moves, dtype=torch.long, device=flat.device).view(-1, 2).unbind(1)
            values = flat[gone] if step == 0 else torch.zeros_like(flat[gone])
            flat[gone] = 0
            flat[came] = values
            weight.copy_(flat.view(weight.shape))
            if step and self.rule.momentum_reset:
                moments.restart(self.optimizer, weight, mask & ~self.masks[name], self._knows(mask & self.masks[name]))
            self.masks.update_({name: mask})
            self.repaired += len(came)

    def _layer(self, name: str, step: int = 0, known: int | None = None) -> Layer:
        weight = self.weights[name]
        return Layer(
            name=name,
            weight=weight.detach(),
            mask=self.masks[name].clone(),
            gradient=weight.grad,
            state=self.optimizer.state.get(weight, {}),
            eps=moments.eps_of(self.optimizer),
            rng=lambda: self.streams("rewiring", f"{name}/{step}"),
            frame=self.frame.get(name),
            known=known,
            probe=functools.partial(self._probe, self.batches, step) if self.batches else None,
        )

    def _probe(self, batches: Callable[[int], Batches], step: int) -> Probe:
        return Probe(self.model, {n: w.detach() for n, w in self.weights.items()}, batches(step), self.loss)

    def _write(self, layer: Layer, change: Change, weight: torch.Tensor, step: int) -> None:
        mask, grown = change.masks[layer.name], change.grown[layer.name]
        fresh = grown & ~layer.mask if self.rule.regrown_value == "keep" else grown
        before = weight.detach().clone() if self.rule.restore_norm != "none" else weight
        moments.keep_(weight.detach(), mask & ~fresh)
        if self.rule.restore_norm != "none":
            weight.copy_(restored(weight, before, mask & ~fresh, self.rule.restore_norm))
        if self.rule.regrown_value == "random":
            redraw_(weight, fresh, self.streams("rewiring", f"{layer.name}/{step}/values"))
        if self.rule.momentum_reset:
            moments.restart(self.optimizer, weight, fresh, self._knows(mask & ~fresh))
        self.masks.update_({layer.name: mask})

    def _moving(self, leave: Sequence[str]) -> list[str]:
        """The layers that updates see."""
        for pattern in leave:
            if not any(fnmatchcase(name, pattern) for name in self.masks):
                raise UserError(self.rule.where("leave"), "no mask matches", found=pattern, allowed=list(self.masks))
        found = [name for name in self.masks if not any(fnmatchcase(name, pattern) for pattern in leave)]
        if not found:
            raise UserError(self.rule.where("leave"), "leaves every layer as it is", found=list(leave))
        return found

    def _knows(self, stay: torch.Tensor) -> torch.Tensor | None:
        """The weights whose mean the optimizer takes for those that are new; None: it knows nothing of these."""
        return stay if self.rule.momentum_reset == "mean" else None

    def _gradients_are_finite(self) -> bool:
        gradients = [p.grad for p in moments.trained(self.optimizer)]
        return all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)

    def state_dict(self) -> dict[str, Any]:
        counters = {"steps": self.steps, "updates": self.updates, "memory": self.memory, "last": self.last}
        counters |= {"overlaps": self.overlaps, "repaired": self.repaired}
        counters |= {"frame": self.frame} if self.frame else {}
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
        self.memory, self.last = copy.deepcopy(dict(state["memory"])), copy.deepcopy(dict(state["last"]))
        self.overlaps, self.repaired = list(state["overlaps"]), state["repaired"]
        for name, mask in self.frame.items():
            mask.copy_(state["frame"][name])
        self.masks.apply_()
