"""What augmentation costs a batch on one thread, and how many pictures a second streaming decodes.

128 random images as the loop is fed them, normalised, against the same changes by torchvision on Pillow images one by
one, as the published codes do them in their loaders. "cifar" is a reflected frame of 4 pixels, a crop of 32 and a flip;
"tiny" a crop of 64 from the same frame, hue and saturation 0.05, flip and 10 degrees. Streaming: pictures of 400 x 500
pixels to random boxes at 224 x 224, with one thread and with as many as there are cores.
Medians; of processor time for the batches, of wall-clock time for streaming.
Run as `python -m benchmarks.augment`; writes benchmarks/results/augment.json.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.recording import record
from sparse_ortho.streams import Streams
from sparse_ortho.training import streamed
from sparse_ortho.training.augment import Augment
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.resident import Split

BATCH, IMAGES, REPEATS, PICTURES = 128, 2048, 15, 96
RECIPES: dict[str, tuple[int, dict[str, Any]]] = {
    "cifar": (32, {"crop": 4, "flip": True}),
    "tiny": (64, {"crop": 4, "flip": True, "hue": 0.05, "saturation": 0.05, "rotation": 10.0}),
}


def milliseconds(function: Callable[[], Any], clock: Callable[[], float] = time.thread_time) -> float:
    times = []
    for _ in range(REPEATS + 1):  # the first warms up
        start = clock()
        function()
        times.append(clock() - start)
    return round(statistics.median(times[1:]) * 1e3, 2)


def batched(images: torch.Tensor, options: TrainOptions) -> Callable[[], Any]:
    mean, std = torch.full((3, 1, 1), 120.0), torch.full((3, 1, 1), 60.0)
    split = Split(images, torch.zeros(len(images), dtype=torch.int64), mean, std)
    augment = Augment(options, split.shape)
    numbers = augment.numbers(Streams(0), 0, len(images))
    rows = torch.from_numpy(Streams(0)("order").permutation(len(images))[:BATCH])

    def batch() -> torch.Tensor:
        (taken, _), own = next(split.raw([rows])), {kind: drawn[rows] for kind, drawn in numbers.items()}
        return augment(taken, own, split.normalised)

    return batch


def one_by_one(images: torch.Tensor, options: TrainOptions) -> Callable[[], Any]:
    pictures = [Image.fromarray(image) for image in images[:BATCH].permute(0, 2, 3, 1).numpy()]
    steps: list[Any] = [transforms.RandomCrop(images.shape[-1], options.crop, padding_mode="reflect")]
    if options.hue:
        steps.append(transforms.ColorJitter(saturation=options.saturation, hue=options.hue))
    steps.append(transforms.RandomHorizontalFlip())
    if options.rotation:
        steps.append(transforms.RandomRotation(options.rotation))
    change = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)])
    return lambda: [change(picture) for picture in pictures]


def pictures_a_second(folder: Path, threads: int) -> float:
    files = [f"{i}.jpg" for i in range(PICTURES)]
    pictures, views = streamed.Pictures(folder, files, (3, 224, 224)), streamed.random_views(Streams(0), 0, PICTURES)
    rows = [range(i, i + 16) for i in range(0, PICTURES, 16)]
    cores, streamed.workers = streamed.workers, lambda: threads
    try:
        taken = milliseconds(lambda: [None for _ in pictures.batches(rows, views)], time.perf_counter)
        return round(PICTURES / taken * 1e3)
    finally:
        streamed.workers = cores


def main() -> None:
    torch.set_num_threads(1)
    rng, figures = np.random.default_rng(0), {}
    for name, (side, given) in RECIPES.items():
        images, options = (
            torch.from_numpy(rng.integers(0, 256, (IMAGES, 3, side, side)).astype(np.uint8)),
            TrainOptions(**given),
        )
        figures[f"{name}_batch_ms"] = milliseconds(batched(images, options))
        figures[f"{name}_torchvision_ms"] = milliseconds(one_by_one(images, options))
    with tempfile.TemporaryDirectory() as folder:
        for i in range(PICTURES):
            large = Image.fromarray(rng.integers(0, 256, (12, 15, 3)).astype(np.uint8)).resize((500, 400))
            grain = np.asarray(large) + rng.normal(0, 12, (400, 500, 3))
            Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(Path(folder) / f"{i}.jpg", quality=90)
        for threads in sorted({1, streamed.workers()}):
            figures[f"streamed_a_second_threads_{threads}"] = pictures_a_second(Path(folder), threads)
    record("augment", figures)


if __name__ == "__main__":
    main()
