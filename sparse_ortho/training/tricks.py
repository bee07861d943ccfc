"""A trick (tricks/) as a part of a training: its schedule, its loss, and the parameters that only it has.

Those parameters train with the run's optimizer, under its rule of weight decay, from before a checkpoint is read until
the trick ends. The epochs' evaluations see the network as it is then: with the trick as far as it is still on. A run
whose trick is always on ends with it on, its tensors lie beside the weights, and its record says how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.masks import LAYERS
from sparse_ortho.training.losses import cross_entropy
from sparse_ortho.training.optimizers import decay_groups
from sparse_ortho.training.parts import Part
from sparse_ortho.tricks.attached import Attached, Trick

if TYPE_CHECKING:
    from sparse_ortho.training.state import Run


class Tricked(Part):
    def __init__(self, name: str, trick: Trick):
        self.name = name
        self.trick = trick
        self.about = f" {name} {trick!r}"
        self.attached: Attached
        self.own: list[torch.nn.Parameter] = []  # those that the optimizer trains, in the order of its groups
        self.optimizer: torch.optim.Optimizer
        self.extra: list[torch.nn.Parameter] = []

    def begin(self, run: Run) -> None:
        self.attached = self.trick.attach(run.model)
        self.optimizer, self.extra = run.optimizer, run.extra
        if self.attached.size:
            self._join(run)
        self._move(0, run.clock.total_steps)

    def _join(self, run: Run) -> None:
        if run.ranks.size > 1:
            raise UserError(f"tricks.{self.name}", "has parameters of its own, which only one rank can train")
        if self.trick.always_on and run.options.ema:
            raise UserError(f"tricks.{self.name}.always_on", "train.ema averages no parameters but the network's")
        for group in self._groups(run):
            run.optimizer.add_param_group(group)
            self.own += group["params"]
        self.extra.extend(self.attached.parameters())
        if run.precision.scaler is not None and run.options.optimizer == "sgd" and run.options.momentum:
            for parameter in self.attached.parameters():  # as for the network's own, see optimizers.py
                run.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def _groups(self, run: Run) -> list[dict[str, Any]]:
        if any(isinstance(module, LAYERS) for module in self.attached.extra.modules()):
            return decay_groups(run.options, self.attached.extra)
        return [{"params": list(self.attached.parameters()), "weight_decay": 0.0}]  # a sharpness is no weight

    def loss(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor | None:
        told = self.attached.smoothing()
        return None if told is None else cross_entropy(logits, y, alpha=told[0], over=told[1])

    def after_step(self, run: Run) -> None:
        self._move(run.clock.steps + 1, run.clock.total_steps)

    def end(self, run: Run) -> None:
        if not self.trick.always_on:
            self.attached.finish()
            self._leave()

    def _move(self, steps: int, of: int) -> None:
        self.attached.step(steps / of if of else 1.0)
        self._leave()

    def _leave(self) -> None:
        """The parameters of a trick that is over are nobody's any more."""
        if self.attached.on or not self.own:
            return
        mine, groups = {id(parameter) for parameter in self.own}, self.optimizer.param_groups
        for parameter in self.own:
            self.optimizer.state.pop(parameter, None)
        groups[:] = [group for group in groups if not any(id(p) in mine for p in group["params"])]
        self.extra[:] = [parameter for parameter in self.extra if id(parameter) not in mine]
        self.own = []

    def facts(self) -> dict[str, int]:
        size = self.attached.size
        return {"extra_parameters": size, "extra_parameters_kept": size if self.trick.always_on else 0}

    def arrays(self) -> dict[str, Any]:
        """The tensors that an evaluation of the finished network needs besides its weights."""
        if not self.trick.always_on:
            return {}
        found = self.attached.extra.state_dict().items()
        return {f"tricks/{self.name}/{key}": value.detach().cpu().numpy() for key, value in found}

    def state_dict(self) -> dict[str, Any]:
        slots = [self.optimizer.state.get(parameter, {}) for parameter in self.own]
        told = {f"slot/{i}/{key}": value for i, slot in enumerate(slots) for key, value in slot.items()}
        return self.attached.state_dict() | told

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The optimizer counts its slots; where another trick is over by now, what it has restored is not ours."""
        for i, parameter in enumerate(self.own):
            mine = {k: v for k, v in state.items() if k.startswith(f"slot/{i}/")}
            self.optimizer.state.pop(parameter, None)
            if mine:
                told = {key.rpartition("/")[2]: value for key, value in mine.items()}
                self.optimizer.state[parameter] = {k: _beside(v, k, parameter) for k, v in told.items()}
        self.attached.load_state_dict({k: v for k, v in state.items() if not k.startswith("slot/")})
        self._leave()


def _beside(value: Any, key: str, parameter: torch.nn.Parameter) -> Any:
    """Where the optimizer wants it: a fused one counts its steps on the device, the others on the CPU."""
    counted = key == "step" and parameter.device.type not in ("cpu", "cuda")
    return value if counted or not isinstance(value, torch.Tensor) else value.to(parameter.device)
