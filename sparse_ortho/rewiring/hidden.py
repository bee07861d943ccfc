"""Dense weights theta behind the masked ones  w = mask * theta  that the network computes with.

    before a step   dL/dw becomes the gradient of theta, as the method wants it, and theta comes into the place of w
    the step        the optimizer moves theta
    after it        theta is put away, and mask * theta is in its place again

So what is evaluated, averaged and saved is the masked network; theta is in the checkpoint of the rule. A step that
float16 will skip leaves everything as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.live import Rewiring


class Hidden(Rewiring):
    works_on_gradients = True

    def __init__(self, *given: Any, **lengths: Any):
        super().__init__(*given, **lengths)
        self.dense = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.begin()
        self.choose(0)
        self.masks.apply_()

    @property
    def theta(self) -> dict[str, torch.Tensor]:
        """Between two steps."""
        return self.dense

    def begin(self) -> None:
        """What a method keeps beside theta."""

    def chosen(self, step: int) -> Mapping[str, torch.Tensor]:
        """The masks that belong to theta after a step."""
        raise NotImplementedError

    def turn(self, name: str, gradient: torch.Tensor) -> None:
        """Make the gradient of the masked weight that of theta, in place."""

    def uncover(self) -> None:
        """Before the step: gradients become those of theta, and theta comes into the place of the masked weights."""
        self.turn_all()
        self.copy(self.weights, self.dense)

    def turn_all(self) -> None:
        for name, weight in self.weights.items():
            if weight.grad is not None:
                self.turn(name, weight.grad)

    def settle(self) -> None:
        """After the step: theta, still what it was before, becomes what the optimizer has made of it in the weights."""
        self.copy(self.dense, self.weights)

    @torch.no_grad()
    def before_step(self, *, scaled: bool = False) -> bool:
        if scaled and not self._gradients_are_finite():
            return False
        self.uncover()
        return False

    @torch.no_grad()
    def after_step(self) -> bool:
        self.steps += 1
        self.settle()
        moved = self.due(self.steps)
        if moved:
            self.choose(self.steps)
            self.updates += 1
        self.masks.apply_()
        return moved

    def choose(self, step: int) -> None:
        masks, before = self.chosen(step), {name: mask.clone() for name, mask in self.masks.items()}
        self.masks.update_(masks)
        came, went = (
            counts({n: m & ~before[n] for n, m in masks.items()}),
            counts({n: before[n] & ~masks[n] for n in masks}),
        )
        active = counts(dict(masks))
        self.last = {n: {"active": active[n], "dropped": went[n], "grown": came[n]} for n in masks}
        self._factors = {}

    def copy(self, to: Mapping[str, torch.Tensor], of: Mapping[str, torch.Tensor]) -> None:
        pairs = [(to[name], of[name]) for name in self.dense]
        torch._foreach_copy_([a for a, _ in pairs], [b for _, b in pairs])  # pyright: ignore[reportPrivateImportUsage]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"theta": self.theta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        with torch.no_grad():
            for name, theta in self.dense.items():
                theta.copy_(state["theta"][name])
