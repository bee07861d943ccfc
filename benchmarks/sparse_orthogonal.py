"""What sparse orthogonal matrices cost, against the published algorithm as written: rotate, clone, count again.

Bounds: 2048 x 2048 at density 0.05 1,000 times faster; at 0.01 a nonzero of 16,384 x 16,384 costs at most twice one of
4,096 x 4,096, and memory follows the nonzeros; the matrices of 1,000 layers of 128 x 128 at density 0.125 20 times
faster than layer by layer (beside it all of `initialize_`: matrices, masks filled up, biases, writing); residuals at
most 1e-12 in float64 and 5e-7 in float32. All layers of ResNet-50 at density 0.1 are reported. The plain algorithm is
measured over the first 200 rotations of the large matrix (each costs the same) and over 20 of the 1,000 layers, in
float32 as released. Processor time of one thread, best of some.
Run as `python -m benchmarks.sparse_orthogonal`; writes benchmarks/results/sparse_orthogonal.json. Takes a minute.
"""

from __future__ import annotations

import math
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.recording import record
from sparse_ortho import sparse_orthogonal
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.linalg.givens import rotated_arrays
from sparse_ortho.masks import maskable
from sparse_ortho.models.deep_resnet import deep_resnet
from sparse_ortho.models.mlp import mlp
from sparse_ortho.prune import make_masks
from sparse_ortho.streams import stream

MIB = 2**20


def seconds(function: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times)


def plain(side: int, density: float, seed: int, rotations: float = math.inf) -> int:
    """The published algorithm for a square matrix, one draw at a time; returns how many rotations it made."""
    rng, count = np.random.default_rng(seed), 0
    matrix = torch.eye(side)
    while count < rotations and (matrix.count_nonzero() / matrix.numel()).item() < density:
        first = second = int(rng.integers(side))
        while second == first:
            second = int(rng.integers(side))
        i, j = sorted((first, second))
        angle = rng.uniform(0.0, 2.0 * math.pi)
        before = matrix.clone()
        matrix[:, i] = math.cos(angle) * before[:, i] + math.sin(angle) * before[:, j]
        matrix[:, j] = math.cos(angle) * before[:, j] - math.sin(angle) * before[:, i]
        count += 1
    return count


def large(figures: dict[str, Any]) -> None:
    _, info = sparse_orthogonal(2048, 2048, 0.05, seed=0)
    ours = seconds(lambda: sparse_orthogonal(2048, 2048, 0.05, seed=0), 20)
    theirs = seconds(lambda: plain(2048, 0.05, 0, 200), 3) / 200 * info.rotations
    figures["2048 at 0.05 (s)"] = round(ours, 4)
    figures["2048 at 0.05, plain (s, from 200 rotations)"] = round(theirs, 1)
    figures["2048 at 0.05, ratio, bound 1000"] = round(theirs / ours)
    figures["2048 at 0.05, residual, bound 1e-12"] = info.residual


def scaling(figures: dict[str, Any]) -> None:
    each = {}
    for side in (4096, 16384):
        nonzeros = sparse_orthogonal(side, side, 0.01, seed=0)[1].nonzeros
        each[side] = seconds(lambda side=side: sparse_orthogonal(side, side, 0.01, seed=0), 5) / nonzeros
        tracemalloc.start()
        sparse_orthogonal(side, side, 0.01, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        figures[f"{side} at 0.01 (ns a nonzero)"] = round(each[side] * 1e9)
        figures[f"{side} at 0.01, peak memory (MiB)"] = round(peak / MIB)
        figures[f"{side} at 0.01, peak memory (bytes a nonzero)"] = round(peak / nonzeros)
    figures["16384 to 4096, time a nonzero, bound 2"] = round(each[16384] / each[4096], 2)


def deep(figures: dict[str, Any]) -> None:
    model = mlp((28, 28), 10, depth=1000, width=128)
    masks = make_masks(model, 0.125, layers="uniform", seed=0)
    whole = seconds(lambda: initialize_(model, masks, "eoi", seed=0), 3)
    ours = seconds(lambda: rotated_arrays(128, 128, [2048] * 1000, [stream(s, "init") for s in range(1000)]), 3)
    theirs = seconds(lambda: [plain(128, 0.125, seed) for seed in range(20)], 3) * 50
    figures["1,000 matrices of 128 (s)"] = round(ours, 3)
    figures["1,000 matrices of 128, plain (s, from 20)"] = round(theirs, 1)
    figures["1,000 matrices of 128, ratio, bound 20"] = round(theirs / ours, 1)
    figures["1,000 layers of 128, all of initialize_ (s)"] = round(whole, 2)
    figures["1,000 layers of 128, all of initialize_, ratio"] = round(theirs / whole, 1)
    weight = model.get_parameter(list(maskable(model))[500]).detach()
    figures["128 at 0.125, float32 residual, bound 5e-7"] = float((weight @ weight.T - torch.eye(128)).abs().max())


def resnet50(figures: dict[str, Any]) -> None:
    total = 0.0
    shapes = Counter(tuple(w.shape) for w in maskable(deep_resnet((3, 224, 224), 1000, depth=50)).values())
    for shape, layers in shapes.items():
        layer: nn.Module
        if len(shape) == 2:
            layer = nn.Linear(shape[1], shape[0], bias=False)
        else:
            layer = nn.Conv2d(shape[1], shape[0], shape[2], bias=False)
        masks = make_masks(layer, 0.1, seed=0)
        once = seconds(lambda net=layer, m=masks: initialize_(net, m, "eoi", seed=0, more_nonzeros=True), 2)
        total += layers * once
        figures[f"ResNet-50, {layers} x {'x'.join(map(str, shape))} (ms each)"] = round(once * 1e3, 1)
    figures["ResNet-50, all layers (s)"] = round(total, 2)


def main() -> None:
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for part in (large, scaling, deep, resnet50):
        part(figures)
    record("sparse_orthogonal", figures)


if __name__ == "__main__":
    main()
