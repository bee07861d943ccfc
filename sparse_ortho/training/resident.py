"""The data set as tensors that stay on the device: no loader, no workers, no copies between batches.

The order of an epoch is a permutation from the stream ("order", epoch): a resumed run needs no generator state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sparse_ortho.streams import Streams

# Normalised once when a part fits as float32 (all of CIFAR-10 is 737 MB), else batch by batch from bytes.
FLOAT_LIMIT = 1 << 30
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    x: torch.Tensor  # (N, C, H, W): float32 and normalised, or uint8
    y: torch.Tensor  # (N,) int64
    mean: torch.Tensor  # (C, 1, 1), both in units of the bytes
    std: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        return (x.float() - self.mean) / self.std if x.dtype == torch.uint8 else x

    def take(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.normalised(self.x.index_select(0, rows)), self.y.index_select(0, rows)

    def slices(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(self), size):
            yield self.normalised(self.x[start : start + size]), self.y[start : start + size]


def resident(
    data: Mapping[str, np.ndarray], facts: Mapping[str, Any], device: torch.device, limit: int = FLOAT_LIMIT
) -> dict[str, Split]:
    """The parts train, validation and test on `device`."""
    mean, std = (
        torch.tensor([[[facts["scale"] * value]] for value in facts[key]], dtype=torch.float32, device=device)
        for key in ("mean", "std")
    )
    splits = {}
    for part in PARTS:
        rows = data[part]
        x = torch.from_numpy(data["images"][rows]).to(device)
        y = torch.from_numpy(data["labels"][rows].astype(np.int64)).to(device)
        split = Split(x, y, mean, std)
        splits[part] = Split(split.normalised(x), y, mean, std) if 4 * x.numel() <= limit else split
    return splits


def few(
    data: Mapping[str, np.ndarray], facts: Mapping[str, Any], rows: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Some images, normalised, and their labels, on the CPU: the rest of the data set is not touched."""
    nothing = rows[:0]
    only = resident({**data, "train": rows, "validation": nothing, "test": nothing}, facts, torch.device("cpu"))[
        "train"
    ]
    return only.take(torch.arange(len(rows)))


def order(streams: Streams, epoch: int, n: int, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(streams("order", f"epoch{epoch}").permutation(n)).to(device)
