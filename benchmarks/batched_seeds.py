"""Seeds of one cell trained side by side (training/lockstep.py) against one after the other, steps of all seeds a time.

A step is that of the loop, with masks at density 0.2 and SGD; one thread. Medians of blocks of steps taken in turn, by
the time of the processor, so that others on the machine do not count. `equal` is whether all weights are equal, bit for
bit, after all of them. Batched are, of these, the cells within lockstep.WORTH.
`python -m benchmarks.batched_seeds` writes benchmarks/results/batched_seeds.json.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.engine import random_splits, run_of, started
from benchmarks.recording import record
from sparse_ortho.devices import prepare
from sparse_ortho.models.lenet import lenet300_100
from sparse_ortho.models.mlp import mlp
from sparse_ortho.training.lockstep import Group, worth_it
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.step import train_step

DIGITS, MNIST = (1, 8, 8), (1, 28, 28)
CASES: dict[str, tuple[Any, tuple[int, ...], int]] = {
    "digits, 3x64, batch 64": (lambda: mlp(DIGITS, 10, depth=3, width=64), DIGITS, 64),
    "digits, 7x64, batch 64": (lambda: mlp(DIGITS, 10, depth=7, width=64), DIGITS, 64),
    "digits, 7x100, batch 64": (lambda: mlp(DIGITS, 10), DIGITS, 64),
    "digits, LeNet-300-100, batch 64": (lambda: lenet300_100(DIGITS, 10), DIGITS, 64),
    "MNIST, LeNet-300-100, batch 100": (lambda: lenet300_100(MNIST, 10), MNIST, 100),
    "MNIST, 7x100, batch 128": (lambda: mlp(MNIST, 10), MNIST, 128),
}
BLOCKS, STEPS = 11, 20


def gain(case: str, seeds: int, device: torch.device) -> dict[str, Any]:
    make, shape, batch = CASES[case]
    splits, options = random_splits(shape, batch, device), TrainOptions(batch_size=batch, lr=0.01)
    models = [make() for _ in range(seeds)]
    masks = [started(model, 0.2) for model in models]
    alone, side = (
        [run_of(m, mask, splits, options, device) for m, mask in zip(own, masks, strict=True)]
        for own in (copy.deepcopy(models), models)
    )
    group = Group()
    group.of(side)
    draw = torch.Generator().manual_seed(0)
    batches = [(torch.randn(batch, *shape, generator=draw), torch.randint(10, (batch,), generator=draw)) for _ in side]

    def one_by_one() -> None:
        for run, (x, y) in zip(alone, batches, strict=True):
            train_step(run, x, y)

    found = [(spent(one_by_one), spent(lambda: group.step(batches))) for _ in range(BLOCKS + 1)][1:]
    slow, fast = (statistics.median(times) for times in zip(*found, strict=True))
    weights = [[p for run in runs for p in run.model.parameters()] for runs in (alone, side)]
    return {
        f"{case}, {seeds} seeds: one by one, ms": round(1e3 * slow, 3),
        f"{case}, {seeds} seeds: times as fast": round(slow / fast, 2),
        f"{case}, {seeds} seeds: equal": all(torch.equal(a, b) for a, b in zip(*weights, strict=True)),
        f"{case}: batched in a training": worth_it(models[0], options),
    }


def spent(work: Callable[[], None]) -> float:
    """Seconds of the processor that one of STEPS takes."""
    begun = time.process_time()
    for _ in range(STEPS):
        work()
    return (time.process_time() - begun) / STEPS


def main() -> None:
    device = prepare("cpu", 1)
    figures = {key: value for case in CASES for n in (3, 5) for key, value in gain(case, n, device).items()}
    record("batched_seeds", figures)


if __name__ == "__main__":
    main()
