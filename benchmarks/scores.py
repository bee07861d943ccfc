"""What a score costs beyond the forward and backward passes that its formula needs; the aim is 1.3 times those.

Two networks, random data of their images' shape (2 batches of 128), one thread, medians: a 7x100 tanh MLP on 28 x 28,
whose passes are so short that whatever touches every weight counts, and ResNet-20 on 3 x 32 x 32, where they dominate.
The bare passes are the shortest loops that compute the same gradients: snip a forward and backward a batch, grasp two
of them and a backward through the second, synflow 100 in float64 with one input. `mask` is the whole way to a mask at
density 0.05: scores, and one selection, of synflow 100.
On ResNet-20 all scores and masks keep the aim. On the MLP the scores of snip and grasp do, and grasp's mask; snip's
takes 1.4 times its passes, of 2.4 ms. A pass of synflow is 0.15 ms there, less than one selection among 129,400
weights: its scores take 1.4 to 1.6 times (1.6 to 2.2 by gradients of the weights), its masks 4 to 5 times the passes.
To write |w| in float64, and to multiply, are 0.06 ms for so many weights, whatever else is saved.
Run as `python -m benchmarks.scores`; writes benchmarks/results/scores.json.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.autograd import grad
from torch.nn.functional import cross_entropy

from sparse_ortho.masks import maskable
from sparse_ortho.models.mlp import mlp
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose
from sparse_ortho.registry import load
from sparse_ortho.streams import Streams

ROUNDS, DENSITY, BOUND = 100, 0.05, 1.3
REPEATS = {"mlp": 15, "resnet20": 5}
RESULT = Path(__file__).parent / "results" / "scores.json"


def network(name: str, activation: str | None = None) -> tuple[torch.nn.Module, tuple[int, int, int]]:
    if name == "mlp":
        return mlp((28, 28), 10, depth=7, width=100, activation=activation or "tanh"), (1, 28, 28)  # type: ignore
    return cifar_resnet((3, 32, 32), 10, depth=20, activation=activation or "relu"), (3, 32, 32)  # type: ignore


def setting(name: str = "mlp") -> Probe:
    torch.manual_seed(0)
    model, shape = network(name)
    batches = [(torch.randn(128, *shape), torch.randint(10, (128,))) for _ in range(2)]
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()}, batches, shape=shape)


def bare(probe: Probe, name: str) -> dict[str, Callable[[], Any]]:
    """The passes alone, on the model's own parameters."""
    weights, batches = list(maskable(probe.model).values()), probe.batches or ()
    straight, shape = network(name, "linear")
    doubles = list(maskable(straight.double().eval()).values())
    ones = torch.ones(1, *shape, dtype=torch.float64)

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


def compared(probe: Probe, name: str, passes: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Seconds of the passes, the score and the mask, measured in turn so that a busy machine slows all three."""
    score, streams, calls = load("scores", name), Streams(0), ROUNDS if name == "synflow" else 1

    def scored() -> None:
        once = replace(probe, memo={})  # as `prune` hands it to the rounds
        for _ in range(calls):
            score(once, streams)

    def masked() -> None:
        choose(probe, DENSITY, score=name, layers="global", streams=streams)

    times: list[list[float]] = [[], [], []]
    for repeat in range(repeats + 1):  # the first of each warms up
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
    rows: dict[str, dict[str, dict[str, float]]] = {}
    print(f"{'':17} {'passes ms':>10} {'score ms':>10} {'ratio':>6} {'mask ms':>10} {'ratio':>6}")
    for net, repeats in REPEATS.items():
        probe = setting(net)
        rows[net] = {name: compared(probe, name, passes, repeats) for name, passes in bare(probe, net).items()}
        for name, row in rows[net].items():
            print(
                f"{net:8} {name:8} {row['passes_s'] * 1e3:10.2f} {row['score_s'] * 1e3:10.2f}"
                f" {row['score_ratio']:6.2f} {row['mask_s'] * 1e3:10.2f} {row['mask_ratio']:6.2f}"
            )
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    record = {"platform": platform.platform(), "versions": versions, "threads": 1, "repeats": REPEATS, "bound": BOUND}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({**record, "scores": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
