"""A learned mask at work in one training: what the optimizer moves is not what the network computes with.

    W~ = f(latent)   in the model,   d loss / d latent   from   d loss / d W~   by the formula of the method

The model holds W~ at every moment, masked weights exactly 0, so evaluations, averages, compiled forms and exports see
the plain network. Between the gradient and the step the gradients of the weights are exchanged for those of the latent
numbers, which are parameters of the optimizer too; a weight without a gradient is not moved, nor is its momentum. After
the step W~ is written again. A step that float16 had to skip leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks, plain_name


class Method(Protocol):
    @property
    def name(self) -> str: ...


class Learned:
    """What every learned mask has: the frame it stays in, its latent parameters, its masks as they are now."""

    works_on_gradients = True  # between the gradient and the step; a scaler must have seen them before

    def __init__(
        self, rule: Method, model: torch.nn.Module, optimizer: torch.optim.Optimizer, masks: Mapping[str, torch.Tensor]
    ):
        if isinstance(optimizer, torch.optim.LBFGS):
            raise UserError("optimizer", "LBFGS calls a closure several times a step, between which masks cannot move")
        self.rule, self.optimizer = rule, optimizer
        self.masks = Masks(masks, model)
        known = {plain_name(name): p for name, p in model.named_parameters(remove_duplicate=False)}
        self.weights = {name: known[name] for name in self.masks}
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, weight in self.weights.items():
            if hasattr(weight, "device_mesh"):
                raise UserError(name, "is sharded over several devices; masks need whole parameters")
            if id(weight) not in trained:
                raise UserError("optimizer", f"does not train the masked parameter {name!r}; make it from this model")
        self.masks.apply_()  # from here on they are where the weights are
        self.frame = {name: self.masks[name].to(weight.device, copy=True) for name, weight in self.weights.items()}
        self.latent: dict[str, torch.nn.Parameter] = {}
        self.steps = self.updates = 0
        self.last: dict[str, dict[str, int]] = {}
        self.overlaps: list[Any] = []  # there are no criteria to compare

    # what a method says ------------------------------------------------------------------------------------------

    def pull_back(self) -> None:
        """Exchange the gradients of the weights for those of the latent parameters."""
        raise NotImplementedError

    def show(self) -> None:
        """Write W~ into the model and the masks that it has."""
        raise NotImplementedError

    def finish(self) -> None:
        """After the last step, before the last evaluation."""

    def facts(self) -> dict[str, float]:
        """Numbers besides weights and masks, by name."""
        return {}

    # around a step -----------------------------------------------------------------------------------------------

    def replaces(self) -> bool:
        """No step is replaced by an update: each one is both."""
        return False

    @torch.no_grad()
    def before_step(self, *, scaled: bool = False) -> bool:
        self.pull_back()
        return False

    @torch.no_grad()
    def after_step(self) -> bool:
        """Masks move with every step; whoever keeps a copy of them takes it when it is looked at."""
        self.steps += 1
        self.updates += 1
        self.show()
        return False

    # between trainings -------------------------------------------------------------------------------------------

    def freeze(self) -> tuple[dict[str, torch.Tensor], Masks]:
        """Plain weights of the masked layers, as the network computes with them now, and their masks."""
        weights = {name: weight.detach().clone() for name, weight in self.weights.items()}
        return weights, Masks({name: mask.clone() for name, mask in self.masks.items()})

    def state_dict(self) -> dict[str, Any]:
        kept = {name: parameter.detach() for name, parameter in self.latent.items()}
        return {"rule": self.rule.name, "steps": self.steps, "updates": self.updates, "latent": kept}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """After the model and the optimizer have been loaded."""
        if state.get("rule") != self.rule.name:
            raise UserError("state", "belongs to another rule", found=state.get("rule"), allowed=[self.rule.name])
        given = {name: tuple(value.shape) for name, value in state["latent"].items()}
        if given != {name: tuple(p.shape) for name, p in self.latent.items()}:
            raise UserError("state", "holds other parameters or shapes", found=sorted(given), allowed=self.latent)
        for name, parameter in self.latent.items():
            parameter.copy_(state["latent"][name])
        self.steps, self.updates = state["steps"], state["updates"]
        self.show()

    # for the methods ---------------------------------------------------------------------------------------------

    def train(self, parameters: Iterable[torch.nn.Parameter], group: Mapping[str, Any]) -> None:
        """Have the optimizer move these too, with the options of one of its groups."""
        parameters = list(parameters)
        self.optimizer.add_param_group({**{k: v for k, v in group.items() if k != "params"}, "params": parameters})
        if any("momentum_buffer" in state for state in self.optimizer.state.values()):
            for p in parameters:  # an optimizer that has begun it at 0 has its reasons (training/optimizers.py)
                self.optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)

    def group_of(self, weight: torch.Tensor) -> dict[str, Any]:
        groups = self.optimizer.param_groups
        return next(group for group in groups if any(p is weight for p in group["params"]))
