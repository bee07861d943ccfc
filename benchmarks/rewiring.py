"""A training whose masks move against one whose masks stay, in one run, medians; on a CPU in time of the processor.

    step      a step that falls on no update, with the rule / with static masks
    update    an update, in steps with static masks: at most 2
    whole     (100 steps with the rule and an update) / (100 steps with static masks): at most 1.15

LeNet-300-100 (batch 100) and ResNet-20 (batch 32), density 0.1, one thread; a rule acts every 100 steps, as most
published ones do. The time of the processor is what one thread has used, whoever else has the machine.
`python -m benchmarks.rewiring [--device cuda]`; writes benchmarks/results/rewiring.json, for a GPU rewiring_cuda.json.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.engine import random_splits, run_of, seconds, started
from benchmarks.recording import record
from sparse_ortho.devices import prepare
from sparse_ortho.models.lenet import lenet300_100
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.registry import load
from sparse_ortho.rewiring.hidden import Hidden
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.rewired import Rewired
from sparse_ortho.training.step import train_step

EVERY = 100
RULES = {
    "granet": {"final_density": 0.05},
    "rigl": {},
    "set": {},
    "sparse_momentum": {},
    "top_kast": {"final_density": 0.1},
}


def spent(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds, on a CPU of the processor."""
    if device.type != "cpu":
        return seconds(work, device)
    begun = time.process_time()
    work()
    return time.process_time() - begun


def cost(model: Any, shape: tuple[int, ...], batch: int, rule: str, repeats: int, device: torch.device) -> list[float]:
    """Milliseconds of a static step, and the three ratios."""
    masks, splits = started(model), random_splits(shape, batch, device)
    options = TrainOptions(batch_size=batch, lr=1e-4, epochs=1_000_000)
    static, moving = (run_of(copy.deepcopy(model), masks, splits, options, device) for _ in range(2))
    part = Rewired(load("rules", rule)(every="400000it", **RULES[rule]))
    moving.parts = (part,)
    part.begin(moving)
    x, y = splits["train"].take(torch.arange(batch, device=device))
    pairs = [[spent(partial(train_step, run, x, y), device) for run in (static, moving)] for _ in range(repeats + 1)]
    dense, step = (statistics.median(pair[i] for pair in pairs[1:]) for i in (0, 1))
    live, update = part.live, []
    act = live.choose if isinstance(live, Hidden) else live.rewire
    for _ in range(max(6, repeats // 10)):
        train_step(moving, x, y)  # a gradient, and caches as a step leaves them
        update.append(spent(partial(act, 400_000), device))
    update = statistics.median(update[1:])
    whole = (EVERY * step + update) / (EVERY * dense)
    return [1e3 * dense, step / dense, update / dense, whole]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    device = prepare(parser.parse_args().device, 1)
    cases = {
        "LeNet-300-100, batch 100": (partial(lenet300_100, (1, 28, 28), 10), (1, 28, 28), 100, 300),
        "ResNet-20, batch 32": (partial(cifar_resnet, (3, 32, 32), 10, depth=20), (3, 32, 32), 32, 12),
    }
    figures: dict[str, Any] = {}
    for case, (make, shape, batch, repeats) in cases.items():
        for rule in RULES:
            dense, step, update, whole = cost(make(), shape, batch, rule, repeats, device)
            figures[f"{case}: static step, ms"] = round(dense, 3)
            figures[f"{case}: {rule}: step"] = round(step, 3)
            figures[f"{case}: {rule}: update"] = round(update, 2)
            figures[f"{case}: {rule}: whole"] = round(whole, 3)
    name = torch.cuda.get_device_name() if device.type == "cuda" else None
    record("rewiring" if device.type == "cpu" else f"rewiring_{device.type}", figures, name)


if __name__ == "__main__":
    main()
