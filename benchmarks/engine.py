"""The training engine against training as it is usually written (benchmarks/plain.py), in one run, medians.

    mnist     an epoch of the 7x100 MLP at density 0.1, batch 128, with validation: at least 10 times faster, aim 20
    masks     a step with masks against a dense step, LeNet-300-100 (batch 100) and ResNet-32 (batch 128): at most 1.10
    deep      a step of the MLP of 1,000 layers, width 128, batch 128: at least 3 times faster
    cifar     on a GPU only: images a second of ResNet-32 on CIFAR-10 with crop and flip: at least 10 times as many

Ours has one thread, the usual way has the threads and the ten workers that it takes. `masks` keeps its bound. `mnist`
does not on the recorded machine, where PIL and ToTensor take 30 us an image and the usual epoch 3 s: ours is bound by
its matrix products there (the bound was set where the released program took 14.5 to 20 s an epoch). `deep` keeps its
bound only where launching kernels is what costs time, on a GPU: of 240 ms of the plain step on a CPU the matrix
products take 140, tanh and its derivative 50, and the engine can only save from the rest. No GPU was at hand for the
recorded figures. `python -m benchmarks.engine [mnist masks deep cifar] [--device cuda]`; writes
benchmarks/results/engine.json, for a GPU engine_cuda.json. MNIST comes from SPARSE_ORTHO_DATA or is downloaded.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import plain
from benchmarks.recording import record
from sparse_ortho.data.build import build
from sparse_ortho.devices import prepare
from sparse_ortho.inits.initialize import initialize
from sparse_ortho.masks import Masks
from sparse_ortho.models.lenet import lenet300_100
from sparse_ortho.models.mlp import mlp
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.prune import make_masks
from sparse_ortho.streams import Streams
from sparse_ortho.training.clock import Clock
from sparse_ortho.training.evaluate import evaluate
from sparse_ortho.training.feed import feed
from sparse_ortho.training.loop import train_epoch, train_seed
from sparse_ortho.training.optimizers import optimizer
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import StaticMasks
from sparse_ortho.training.precision import Precision
from sparse_ortho.training.resident import resident
from sparse_ortho.training.speed import faster
from sparse_ortho.training.state import Run
from sparse_ortho.training.step import train_step

DENSITY = 0.1


def started(model: torch.nn.Module, density: float = DENSITY) -> Masks:
    masks = make_masks(model, density, layers="erk", seed=0)
    initialize(model, masks, "orthogonal", Streams(0))
    return masks


def run_of(model: Any, masks: Masks | None, splits: Any, options: TrainOptions, device: torch.device) -> Run:
    """A run that has begun, to take single steps of."""
    parts = (StaticMasks(masks),) if masks else ()
    model.to(device).train()
    clock, numbers = Clock(options, len(splits["train"])), Precision(options.precision, device)
    made = optimizer(options, model)
    run = Run(model, made, clock, splits, masks, parts, options, Streams(0), device, numbers, faster(model, options))
    for part in parts:
        part.begin(run)
    return run


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    wait()
    begun = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begun


def compared(
    one: Callable[[], Any], other: Callable[[], Any], repeats: int, device: torch.device
) -> tuple[float, float]:
    """Medians of two things done in turn, after one of each that is not counted."""
    found = [(seconds(one, device), seconds(other, device)) for _ in range(repeats + 1)][1:]
    return statistics.median(a for a, _ in found), statistics.median(b for _, b in found)


def random_splits(shape: tuple[int, ...], n: int, device: torch.device) -> Any:
    rng = np.random.default_rng(0)
    parts = {"train": np.arange(n), "validation": np.arange(0), "test": np.arange(0)}
    data = {"images": rng.integers(0, 256, (n, *shape)).astype(np.uint8), "labels": np.arange(n) % 10, **parts}
    facts = {"mean": [0.5] * shape[0], "std": [0.25] * shape[0], "scale": 255.0, "shape": shape}
    return resident(data, facts, device)


def mnist(device: torch.device) -> dict[str, Any]:
    arrays, facts = build("mnist", folder=os.environ.get("SPARSE_ORTHO_DATA"), cache=Path("results/downloads"))
    images, labels = arrays["images"], arrays["labels"]
    splits = resident(arrays, facts, device)
    model = mlp((1, 28, 28), 10)
    masks = started(model)
    options = TrainOptions(epochs=1, batch_size=128, lr=0.01)
    train = plain.loader(images[arrays["train"]], labels[arrays["train"]], facts, 128, 8, False)
    validation = plain.loader(images[arrays["validation"]], labels[arrays["validation"]], facts, 100, 2, False)
    made, factors = plain.optimizer(model), {n: m.float().to(device) for n, m in masks.items()}
    watched = {part: splits[part] for part in ("validation",)}

    def ours() -> None:
        run = run_of(model, masks, splits, options, device)
        train_epoch(run, None, None)
        torch.stack(run.losses).tolist()
        evaluate(model, watched)

    def usual() -> None:
        torch.set_num_threads(os.cpu_count() or 1)
        plain.epoch(model, made, factors, train, validation, device)
        torch.set_num_threads(1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more workers than cores, as released
        fast, slow = compared(ours, usual, 5, device)
    whole = seconds(lambda: train_seed(model, splits, masks, options, Streams(0), device), device)
    return {
        "mnist epoch, plain, s": round(slow, 2),
        "mnist epoch, ours, s": round(fast, 3),
        "mnist epoch, times faster": round(slow / fast, 1),
        "mnist epoch with all evaluations, ours, s": round(whole, 3),
    }


def masked(device: torch.device) -> dict[str, Any]:
    found = {}
    cases: Mapping[str, Any] = {
        "LeNet-300-100, batch 100": (lenet300_100((1, 28, 28), 10), (1, 28, 28), 100, 200),
        "ResNet-32, batch 128": (cifar_resnet((3, 32, 32), 10, depth=32), (3, 32, 32), 128, 8),
    }
    for name, (model, shape, batch, repeats) in cases.items():
        splits = random_splits(shape, batch, device)
        masks = started(model)
        options = TrainOptions(batch_size=batch, lr=1e-4)
        runs = [run_of(model, given, splits, options, device) for given in (masks, None)]
        x, y = splits["train"].take(torch.arange(batch, device=device))
        sparse, dense = compared(
            partial(train_step, runs[0], x, y), partial(train_step, runs[1], x, y), repeats, device
        )
        found[f"{name}: dense step, ms"] = round(1e3 * dense, 3)
        found[f"{name}: masked step / dense step"] = round(sparse / dense, 3)
    return found


def deep(device: torch.device) -> dict[str, Any]:
    model = mlp((1, 28, 28), 10, depth=1000, width=128).to(device)
    splits = random_splits((1, 28, 28), 128, device)
    masks = started(model, 0.125)
    run = run_of(model, masks, splits, TrainOptions(lr=1e-4, compile=device.type == "cuda"), device)
    x, y = splits["train"].take(torch.arange(128, device=device))
    usual = copy.deepcopy(model)  # the usual way gives every weight a new memory after every step
    made, factors = plain.optimizer(usual), {n: m.float().to(device) for n, m in masks.items()}
    slow, fast = compared(lambda: plain.step(usual, made, factors, x, y), lambda: train_step(run, x, y), 11, device)
    return {
        "1,000-layer MLP, plain step, ms": round(1e3 * slow, 1),
        "1,000-layer MLP, our step, ms": round(1e3 * fast, 1),
        "1,000-layer MLP, times faster": round(slow / fast, 2),
    }


def cifar(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {}
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (45_000, 3, 32, 32)).astype(np.uint8), np.arange(45_000) % 10
    facts = {"mean": [0.5] * 3, "std": [0.25] * 3, "scale": 255.0, "shape": (3, 32, 32)}
    parts = {"train": np.arange(45_000), "validation": np.arange(0), "test": np.arange(0)}
    splits = resident({"images": images, "labels": labels, **parts}, facts, device)
    model = cifar_resnet((3, 32, 32), 10, depth=32)
    masks = started(model)
    shared: dict[str, Any] = {"crop": 4, "flip": True, "drop_last": True, "channels_last": True, "compile": True}
    run = run_of(model, masks, splits, TrainOptions(lr=0.1, precision="bf16", **shared), device)
    for x, y in list(feed(run))[:20]:  # the compiler's time is not counted
        train_step(run, x, y)
    run.clock.step = 0
    fast = seconds(lambda: train_epoch(run, None, None), device)
    slow_model = cifar_resnet((3, 32, 32), 10, depth=32).to(device)
    made, factors = plain.optimizer(slow_model), {n: m.float().to(device) for n, m in masks.items()}
    train = plain.loader(images[:12_800], labels[:12_800], facts, 128, min(16, os.cpu_count() or 1), True)
    few = plain.loader(images[:100], labels[:100], facts, 100, 1, False)
    slow = seconds(lambda: plain.epoch(slow_model, made, factors, train, few, device), device)
    square = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    peak = 2 * 8192**3 / min(seconds(lambda: square @ square, device) for _ in range(10))
    flops = 3 * 2 * 69e6  # forward and twice that backward, 69 million multiplications and additions an image
    ours = 45_000 / fast
    return {
        "ResNet-32, plain, images/s": round(12_800 / slow),
        "ResNet-32, ours, images/s": round(ours),
        "ResNet-32, times faster": round(ours * slow / 12_800, 1),
        "ResNet-32, share of the device's matrix product": round(ours * flops / peak, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {"mnist": mnist, "masks": masked, "deep": deep, "cifar": cifar}
    parser.add_argument("which", nargs="*", help=f"of {', '.join(known)}; all when none is named")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if unknown := set(arguments.which) - set(known):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    device = prepare(arguments.device, 1)
    figures = {key: value for name in arguments.which or known for key, value in known[name](device).items()}
    name = torch.cuda.get_device_name() if device.type == "cuda" else None
    record("engine" if device.type == "cpu" else f"engine_{device.type}", figures, name)


if __name__ == "__main__":
    main()
