"""One training while it runs: what the loop moves forward and what the parts may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from sparse_ortho.streams import Streams
from sparse_ortho.training.clock import Clock
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.precision import Precision
from sparse_ortho.training.ranks import Alone
from sparse_ortho.training.resident import Split


@dataclass
class Run:
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    clock: Clock
    splits: Mapping[str, Split]
    masks: Mapping[str, torch.Tensor] | None
    parts: Sequence[Part]
    options: TrainOptions
    streams: Streams
    device: torch.device
    precision: Precision
    forward: Callable[[torch.Tensor], torch.Tensor]  # the model, or a faster form of it, for training steps
    ranks: Alone = field(default_factory=Alone)
    extra: list[torch.nn.Parameter] = field(default_factory=list)  # what parts train besides the model
    # One scalar a step of this epoch, left on the device until the epoch ends: its only synchronisation.
    losses: list[torch.Tensor] = field(default_factory=list)
    correct: list[torch.Tensor] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
