"""What a measurement may look at besides the network: images, masks, the loss, randomness, the same cell's next seed.

It is called for the first images that training would see; a measurement that wants no more takes any such function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from sparse_ortho.masks import maskable
from sparse_ortho.streams import Streams

Batch = tuple[torch.Tensor, torch.Tensor]  # images, normalised, and labels
Part = Literal["train", "test"]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of logits and labels, the mean over a batch
BATCH = 250  # images at a time: the activations of a ResNet-32 for as many are 0.5 GB


@dataclass(frozen=True)
class Subject:
    batches: Callable[[Part, int, int], Iterable[Batch]]  # of a part, as many images or all of it, so many at a time
    loss: Loss
    streams: Streams
    masks: Mapping[str, torch.Tensor] = field(default_factory=dict)  # by the name of the parameter; none: dense
    other: Callable[[], tuple[nn.Module, Mapping[str, torch.Tensor]]] | None = None  # model and masks of the next seed

    def __call__(self, count: int) -> torch.Tensor:
        """The first images that training sees, as one batch."""
        return next(iter(self.batches("train", count, count)))[0]

    def surviving(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The mask of every maskable weight; all of it where there is none."""
        return {name: self.masks.get(name, torch.ones_like(w, dtype=torch.bool)) for name, w in maskable(model).items()}
