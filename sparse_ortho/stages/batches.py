"""Training images for an initialisation that reads data, as a loader would hand them out: shuffled, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from sparse_ortho.streams import Streams
from sparse_ortho.training.resident import few

SIZE = 128  # rows of a batch, if the method does not say


class TrainingBatches(Sequence[tuple[torch.Tensor, torch.Tensor]]):
    """Whole batches of the training part; read from the beginning again, it is another epoch with an order of its own.

    Images are made when they are asked for: three batches an iteration over 180 iterations of CIFAR would be 850 MB.
    """

    def __init__(self, images: tuple[Mapping[str, Any], Mapping[str, Any]], streams: Streams, size: int = SIZE):
        self.arrays, self.facts = images
        self.rows, self.streams = self.arrays["train"], streams
        self.size = min(size, len(self.rows))
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.rows) // self.size

    def __getitem__(self, index: Any) -> Any:
        return self._batch(0, range(len(self))[index])

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return (self._batch(epoch, index) for index in range(len(self)))

    def _batch(self, epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        order = self.streams("init", f"images/epoch{epoch}").permutation(len(self.rows))
        return few(self.arrays, self.facts, self.rows[order[index * self.size : (index + 1) * self.size]])
