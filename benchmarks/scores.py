"""What a score costs beyond the forward and backward passes that its formula needs; the aim is 1.3 times those.

7x100 tanh MLP, random data of MNIST's shape (2 batches of 128), one thread, medians. The bare passes are the shortest
loops that compute the same gradients: snip a forward and backward a batch, grasp two of them and a backward through the
second, synflow 100 in float64 with one input. `mask` is the whole way to a mask at density 0.05, with its selections.
snip and grasp keep the aim. synflow does not here: with one input a pass is about as much work as the absolute value,
the conversion and the product of each round (3.5 times), and a selection is ten times a pass; 0.3 s for a mask.
Run as `python -m benchmarks.scores`; writes benchmarks/results/scores.json.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.autograd import grad
from torch.nn.functional import cross_entropy

from sparse_ortho.masks import maskable
from sparse_ortho.models.mlp import mlp
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose
from sparse_ortho.registry import load
from sparse_ortho.streams import Streams

REPEATS, ROUNDS, DENSITY, BOUND = 15, 100, 0.05, 1.3
RESULT = Path(__file__).parent / "results" / "scores.json"


def setting() -> Probe:
    torch.manual_seed(0)
    model = mlp((28, 28), 10, depth=7, width=100, activation="tanh")
    batches = [(torch.randn(128, 1, 28, 28), torch.randint(10, (128,))) for _ in range(2)]
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()}, batches, shape=(1, 28, 28))


def bare(probe: Probe) -> dict[str, Callable[[], Any]]:
    """The passes alone, on the model's own parameters."""
    weights, batches = list(maskable(probe.model).values()), probe.batches or ()
    straight = mlp((28, 28), 10, depth=7, width=100, activation="linear").double()
    doubles, ones = list(maskable(straight).values()), torch.ones(1, 1, 28, 28, dtype=torch.float64)

    def snip() -> None:
        for x, y in batches:
            grad(cross_entropy(probe.model(x), y), weights)

    def grasp() -> None:
        first = [grad(cross_entropy(probe.model(x) / 200, y), weights) for x, y in batches]
        g = [sum(parts) for parts in zip(*first, strict=True)]
        for x, y in batches:
            here = grad(cross_entropy(probe.model(x) / 200, y), weights, create_graph=True)
            grad(sum((a * b).sum() for a, b in zip(here, g, strict=True)), weights)  # type: ignore[arg-type]

    def synflow() -> None:
        for _ in range(ROUNDS):
            grad(straight(ones).sum(), doubles)

    return {"snip": snip, "grasp": grasp, "synflow": synflow}


def compared(probe: Probe, name: str, passes: Callable[[], Any]) -> dict[str, float]:
    """Seconds of the passes, the score and the mask, measured in turn so that a busy machine slows all three."""
    score, streams, calls = load("scores", name), Streams(0), ROUNDS if name == "synflow" else 1

    def scored() -> None:
        for _ in range(calls):
            score(probe, streams)

    def masked() -> None:
        choose(probe, DENSITY, score=name, layers="global", streams=streams)

    times: list[list[float]] = [[], [], []]
    for repeat in range(REPEATS + 1):  # the first of each warms up
        for taken, function in zip(times, (passes, scored, masked), strict=True):
            start = time.perf_counter()
            function()
            if repeat:
                taken.append(time.perf_counter() - start)
    passes_s, score_s, mask_s = map(statistics.median, times)
    ratios = {"score_ratio": round(score_s / passes_s, 3), "mask_ratio": round(mask_s / passes_s, 3)}
    return {"passes_s": passes_s, "score_s": score_s, "mask_s": mask_s, **ratios}


def main() -> None:
    torch.set_num_threads(1)
    probe = setting()
    rows = {name: compared(probe, name, passes) for name, passes in bare(probe).items()}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    record = {"platform": platform.platform(), "versions": versions, "threads": 1, "repeats": REPEATS, "bound": BOUND}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({**record, "scores": rows}, indent=2) + "\n")
    print(f"{'score':8} {'passes ms':>10} {'score ms':>10} {'ratio':>6} {'mask ms':>10} {'ratio':>6}")
    for name, row in rows.items():
        print(
            f"{name:8} {row['passes_s'] * 1e3:10.2f} {row['score_s'] * 1e3:10.2f} {row['score_ratio']:6.2f}"
            f" {row['mask_s'] * 1e3:10.2f} {row['mask_ratio']:6.2f}"
        )


if __name__ == "__main__":
    main()
