"""A data set too large for memory: pictures decoded by batch, a few batches ahead, by threads.

training     a box of scale .08 to 1 of the area and ratio 3/4 to 4/3 (uniform in the area and in the logarithm of the
             ratio), at a uniform place, resized; after ten boxes that do not fit, the largest central one that does
             (Szegedy et al. 2015, as in torchvision's RandomResizedCrop)
evaluation   the shorter side resized to size x 256/224, the central size x size of it

Bilinear by Pillow, which averages over the source when it shrinks. What is not from a paper: the numbers of a box come
from a named stream by image row, so neither threads nor batches nor a resumed run change a picture. Threads, not
processes: Pillow decodes and resizes without Python's lock (two threads: 1.8 times one, JPEGs of 400 x 500 pixels), and
nothing has to be copied, started again or killed. They live as long as one pass over the batches.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sparse_ortho.errors import UserError
from sparse_ortho.streams import Streams

if TYPE_CHECKING:
    from PIL.Image import Image

AHEAD = 3  # batches
MOST_THREADS = 16
SCALE, RATIO, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10
EVALUATED = 256 / 224
MODES = {1: "L", 3: "RGB"}
Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Pictures:
    root: Path
    files: Sequence[str]
    size: tuple[int, ...]  # (C, H, W) of what comes out

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.files), *self.size)

    def batches(self, batches: Sequence[Sequence[int]], views: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """uint8 (B, C, H, W) of each batch of rows: as in training if `views` has numbers for them."""
        pool = ThreadPoolExecutor(workers(), "decode")
        left, begun = iter(batches), deque[tuple[np.ndarray, list[Future[None]]]]()
        try:
            while True:
                begun.extend(self.begin(pool, rows, views) for rows in itertools.islice(left, AHEAD + 1 - len(begun)))
                if not begun:
                    return
                images, decoded = begun.popleft()
                for picture in decoded:
                    picture.result()
                yield images
        finally:  # also when the loop over the batches is left early, by an error or by Ctrl-C
            pool.shutdown(cancel_futures=True)

    def begin(
        self, pool: ThreadPoolExecutor, rows: Sequence[int], views: np.ndarray | None
    ) -> tuple[np.ndarray, list[Future[None]]]:
        images = np.empty((len(rows), *self.size), np.uint8)
        numbers = [None if views is None else views[row] for row in rows]
        jobs = zip(images, rows, numbers, strict=True)
        return images, [pool.submit(self.decode, *job) for job in jobs]

    def decode(self, into: np.ndarray, row: int, numbers: np.ndarray | None) -> None:
        picture = opened(self.root / self.files[row], MODES[self.size[0]])
        side = self.size[-1]
        seen = central(picture, side) if numbers is None else resized(picture, box(*picture.size, numbers), side)
        pixels = np.asarray(seen)
        into[:] = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels


def workers() -> int:
    """As many threads as this process may use cores: no result depends on it."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux: what Slurm or taskset left to this process
    return min(MOST_THREADS, len(affinity(0)) if affinity else os.cpu_count() or 1)


def opened(path: Path, mode: str) -> Image:
    """The picture, decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            return file.convert(mode)
    except FileNotFoundError:
        raise UserError(str(path), "is missing, though the data set was made with it; make its data again") from None
    except UnidentifiedImageError:
        raise UserError(str(path), "is no picture that can be read") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(str(path), f"cannot be decoded ({error})") from None


def random_views(streams: Streams, epoch: int, n: int) -> np.ndarray:
    """Numbers for the boxes of an epoch, a row an image: an area and a ratio an attempt, then a place."""
    return streams("augmentation", f"epoch{epoch}/view").random((n, 2 * ATTEMPTS + 2), dtype=np.float32)


def box(width: int, height: int, numbers: np.ndarray) -> Box:
    """Of a picture, the box of numbers uniform in [0, 1)."""
    *tries, across, down = numbers.tolist()
    low, high = map(math.log, RATIO)
    for area, ratio in zip(tries[::2], tries[1::2], strict=True):
        pixels = width * height * (SCALE[0] + (SCALE[1] - SCALE[0]) * area)
        aspect = math.exp(low + (high - low) * ratio)
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(across * (width - w + 1)), int(down * (height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def resized(picture: Image, part: Box, side: int) -> Image:
    from PIL.Image import Resampling

    return picture.crop(part).resize((side, side), Resampling.BILINEAR)


def central(picture: Image, side: int) -> Image:
    from PIL.Image import Resampling

    shorter = round(side * EVALUATED)
    width, height = (shorter * length // min(picture.size) for length in picture.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return picture.resize((width, height), Resampling.BILINEAR).crop((left, top, left + side, top + side))
