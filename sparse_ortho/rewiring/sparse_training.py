"""`SparseTraining`: a rule for a training loop of one's own.

    sparse = SparseTraining(model, optimizer, masks, "rigl", every=100, stop=7_500)
    loss.backward(); sparse.step()        in place of optimizer.step()

Whole numbers for `every`, `start` and `stop` are steps; texts are lengths such as "10ep" or "0.75" and need
`steps_per_epoch` or `steps`. The schedules of a rule end at `stop`. `data` (batches (x, y), or a function that returns
some) and `loss` are for criteria that read data, such as `drop="grasp"`; a criterion may be a function of your own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from sparse_ortho.masks import Masks
from sparse_ortho.rewiring.live import Batches
from sparse_ortho.rewiring.rule import Rule
from sparse_ortho.signatures import method, options_of
from sparse_ortho.streams import Streams

LENGTHS = ("every", "start", "stop", "density_stop")


class SparseTraining:
    """Masks that follow a rule, and an optimizer whose masked weights are exactly 0 after every step."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        masks: Mapping[str, torch.Tensor],
        rule: str | Rule,
        *,
        every: int | str = 100,
        stop: int | str = 7_500,
        seed: int = 0,
        steps: int | None = None,
        steps_per_epoch: int | None = None,
        data: Batches | Callable[[], Batches] | None = None,
        loss: Callable[[Any, Any], torch.Tensor] | None = None,
        **options: Any,
    ):
        if not isinstance(rule, Rule):
            rule = named(rule, {"every": every, "stop": stop}, options)
        lengths = {"steps_per_epoch": steps_per_epoch, "total_steps": steps}
        self.optimizer = optimizer
        self._live = rule.begin(model, optimizer, masks, Streams(seed), **lengths)
        self._live.loss = loss
        if data is not None:
            self._live.batches = lambda step: data() if callable(data) else data
        self.masks = self._live.masks

    def step(self, scaler: torch.amp.GradScaler | None = None) -> bool:
        """One step of the optimizer, with `scaler` also its `update`; whether it was taken."""
        live = self._live
        if scaler is None:
            live.before_step()
            self.optimizer.step()
        elif not self._scaled_step(scaler):
            return False
        live.after_step()
        return True

    def _scaled_step(self, scaler: torch.amp.GradScaler) -> bool:
        """A step that overflows is skipped, which a scaler shows by a smaller scale."""
        if scaler.is_enabled() and (self._live.replaces() or self._live.works_on_gradients):
            _unscale_once(scaler, self.optimizer)  # the scaler must have seen the gradients before they are withheld
        self._live.before_step(scaled=scaler.is_enabled())
        before = scaler.get_scale()
        scaler.step(self.optimizer)
        scaler.update()
        return scaler.get_scale() >= before

    def report(self) -> dict[str, Any]:
        """Where the topology stands: steps, updates, densities, and what the last update moved in each layer."""
        live, counts = self._live, {name: int(mask.count_nonzero()) for name, mask in self.masks.items()}
        still = {"dropped": 0, "grown": 0}
        moved = {name: {key: live.last.get(name, still)[key] for key in still} for name in counts}
        layers = {n: {"active": k, "density": k / self.masks[n].numel()} | moved[n] for n, k in counts.items()}
        whole = {"nonzeros": sum(counts.values()), "density": sum(counts.values()) / self.masks.size}
        counters = {"rule": live.rule.name, "steps": live.steps, "updates": live.updates}
        seen: dict[str, Any] = {"overlap": live.overlaps[-1]} if live.overlaps else {}
        if live.rule.flow != "none":
            seen["repaired"] = live.repaired
        return counters | whole | live.facts() | seen | {"layers": layers}

    def freeze(self) -> tuple[dict[str, torch.Tensor], Masks]:
        """Copies of the masked weights as the network computes with them now, plain tensors, and of their masks."""
        weights = {name: weight.detach().clone() for name, weight in self._live.weights.items()}
        return weights, Masks({name: mask.clone() for name, mask in self.masks.items()})

    def state_dict(self) -> dict[str, Any]:
        """Masks and counters, to be saved beside the model and the optimizer."""
        return self._live.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """After the model and the optimizer have been loaded."""
        self._live.load_state_dict(state)


def named(name: str, usual: Mapping[str, Any], options: Mapping[str, Any]) -> Rule:
    """A registered rule with these options; the usual ones only where it has them."""
    known = options_of(method("rules", name, options))
    given = {key: value for key, value in usual.items() if key in known} | dict(options)
    made = method("rules", name, given)
    return made(**{key: _length(value) if key in LENGTHS else value for key, value in given.items()})


def _length(value: Any) -> str:
    return f"{value}it" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _unscale_once(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> None:
    """Callers that clip gradients have unscaled them already, which the scaler answers with a RuntimeError."""
    try:
        scaler.unscale_(optimizer)
    except RuntimeError as error:
        if "already been called" not in str(error):
            raise
