"""A trick on one network while it trains: full strength at t = 0, gone from `fraction` of the training on.

What a trick adds to a network (branches, other activations, their parameters) is kept here and never in the network:
its names, its weights and its masks stay those of the plain architecture all the time, and `finish` takes away what the
forward pass still goes through. Parameters that learn stay outside of masks, and are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import nn


class Trick(Protocol):
    """What stands in the registry makes one of these from its options; its repr is what a training is told."""

    @property
    def fraction(self) -> float: ...

    @property
    def always_on(self) -> bool: ...

    def attach(self, model: nn.Module) -> Attached: ...


class Attached:
    """Override `show`, `remove`, `smoothing` where there is something to do; tensors that learn go into `extra`."""

    def __init__(self, trick: Trick):
        self.trick = trick
        self.extra: nn.Module = nn.Module()
        self.on = True
        self.t = 0.0

    def step(self, t: float) -> None:
        """Be as the schedule says after the share `t` of the training; nothing comes back once it is over."""
        self.t = t
        if not self.on:
            return
        if self.trick.always_on:
            self.show(0.0)
        elif t >= self.trick.fraction:
            self.finish()
        else:
            self.show(t / self.trick.fraction)

    def finish(self) -> None:
        """The plain network from now on."""
        if self.on:
            self.on = False
            self.remove()

    def show(self, u: float) -> None:
        """`u` from 0, full strength, to 1, the end of the schedule."""

    def remove(self) -> None: ...

    def smoothing(self) -> tuple[float, str] | None:
        """How the labels of the coming step are smoothed, if this trick has a say in it."""
        return None

    def parameters(self) -> Iterator[nn.Parameter]:
        """What an optimizer has to train besides the network, as long as the trick is on."""
        return self.extra.parameters()

    @property
    def size(self) -> int:
        """Numbers that learn besides those of the network."""
        return sum(parameter.numel() for parameter in self.extra.parameters())

    def state_dict(self) -> dict[str, Any]:
        return {"t": self.t, "on": self.on, **{f"extra/{n}": value for n, value in self.extra.state_dict().items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        told = {name.removeprefix("extra/"): value for name, value in state.items() if name.startswith("extra/")}
        self.extra.load_state_dict(told)
        if not state["on"]:
            self.finish()
        self.step(float(state["t"]))


def device_of(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
