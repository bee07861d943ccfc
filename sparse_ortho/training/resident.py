"""The data set as tensors that stay on the device: no loader, no workers, no copies between batches.

The order of an epoch is a permutation from the stream ("order", epoch): a resumed run needs no generator state. A data
set too large for memory is files to decode instead (streamed.py), behind the same `Split`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparse_ortho.streams import Streams
from sparse_ortho.training.streamed import Pictures

# Normalised once when a part fits as float32 (all of CIFAR-10 is 737 MB), else batch by batch from bytes.
FLOAT_LIMIT = 1 << 30
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    images: torch.Tensor | Pictures  # (N, ...) on the device: uint8, or float32 and normalised; or files to decode
    y: torch.Tensor  # (N,) int64
    mean: torch.Tensor  # (C, 1, 1) or (F,), both in units of the bytes
    std: torch.Tensor
    white: float = 255.0  # the largest value of a byte
    limit: int = FLOAT_LIMIT

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])

    @property
    def streamed(self) -> bool:
        return not isinstance(self.images, torch.Tensor)

    @property
    def rows_on(self) -> torch.device:
        """Where indices are wanted: beside the images, or on the CPU, which decodes them."""
        return self.y.device if isinstance(self.images, torch.Tensor) else torch.device("cpu")

    @functools.cached_property
    def x(self) -> torch.Tensor:
        """The whole part, normalised if that fits. Not in inference mode: an evaluation may be the first to ask."""
        if not isinstance(self.images, torch.Tensor):
            raise TypeError("a streamed part is never whole in memory")
        with torch.inference_mode(False):
            return self.ready(self.images) if 4 * self.images.numel() <= self.limit else self.images

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        return (images.float() - self.mean) / self.std

    def ready(self, images: torch.Tensor) -> torch.Tensor:
        return self.normalised(images) if images.dtype == torch.uint8 else images

    def take(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return next(self.batches([rows]))

    def batches(self, batches: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Normalised images and labels of each of these sets of rows."""
        if isinstance(self.images, torch.Tensor):
            for rows in batches:
                yield self.ready(self.x.index_select(0, rows)), self.y.index_select(0, rows)
        else:
            for images, y in self.raw(batches):
                yield self.normalised(images), y

    def raw(
        self, batches: Sequence[torch.Tensor], views: np.ndarray | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The same as bytes; `views` are the numbers of streamed.random_views, a row an image."""
        if isinstance(self.images, torch.Tensor):
            for rows in batches:
                yield self.images.index_select(0, rows), self.y.index_select(0, rows)
        else:
            decoded = self.images.batches([rows.tolist() for rows in batches], views)
            for rows, images in zip(batches, decoded, strict=True):
                device = self.y.device
                yield torch.from_numpy(images).to(device), self.y.index_select(0, rows.to(device))

    def slices(self, size: int, first: int = 0, every: int = 1) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All of it in its own order, or every so many slices of it, from one of them on."""
        if isinstance(self.images, torch.Tensor):
            images = vars(self).get("x", self.images)  # one look at a part is not worth a copy of it
            for start in range(first * size, len(self), every * size):
                yield self.ready(images[start : start + size]), self.y[start : start + size]
        elif len(self):
            yield from self.batches(torch.arange(len(self)).split(size)[first::every])


def resident(
    data: Mapping[str, np.ndarray], facts: Mapping[str, Any], device: torch.device, limit: int = FLOAT_LIMIT
) -> dict[str, Split]:
    """The parts train, validation and test on `device`."""
    shape, scale = tuple(facts["shape"]), float(facts["scale"])
    mean, std = (
        torch.tensor([scale * value for value in facts[key]], dtype=torch.float32, device=device).view(
            -1, *(1 for _ in shape[1:])
        )
        for key in ("mean", "std")
    )
    files = data["files"].tobytes().decode().split("\n") if facts.get("streamed") else []

    def part(rows: np.ndarray) -> Split:
        y = torch.from_numpy(data["labels"][rows].astype(np.int64)).to(device)
        if facts.get("streamed"):
            pictures = Pictures(Path(facts["root"]), [files[row] for row in rows.tolist()], shape)
            return Split(pictures, y, mean, std, scale, limit)
        images = torch.from_numpy(data["images"][rows]).to(device)
        if images.dtype != torch.uint8:  # a table: as floats it is as large as it gets
            images = (images.float() - mean) / std
        return Split(images, y, mean, std, scale, limit)

    splits = {name: part(data[name]) for name in PARTS}
    for name in ("validation", "test"):  # looked at every epoch; the bytes of `train` may be all that is ever needed
        if isinstance(splits[name].images, torch.Tensor):
            splits[name].x  # noqa: B018
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
