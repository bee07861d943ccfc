"""The exact best k of 25 million scores, against one numpy partition of them; the aim is 3 times that.

float32 scores of 20 layers that all compete, one thread, medians. Beyond the partition: no NaN, the comparison with the
threshold, and ties at it, of which the first stay: at density 0.5 uniform float32 scores have some. `rounds` is a round
of iterated pruning: of the 10 % that an earlier one left, 5 % go; beside it a partition of these survivors alone.
Run as `python -m benchmarks.select`; writes benchmarks/results/select.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.recording import record
from sparse_ortho.masks import select

SIZE, LAYERS, REPEATS, BOUND = 25_000_000, 20, 9, 3.0


def compared(ours: Callable[[], Any], bare: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds of both, measured in turn so that a busy machine slows both; the first of each warms up."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS + 1):
        for taken, function in zip(times, (ours, bare), strict=True):
            start = time.perf_counter()
            function()
            if repeat:
                taken.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    torch.set_num_threads(1)
    flat = torch.from_numpy(np.random.default_rng(0).random(SIZE, dtype=np.float32))
    scores = {f"layer{i}": piece for i, piece in enumerate(flat.split(SIZE // LAYERS))}
    figures: dict[str, Any] = {"scores": SIZE, "bound": BOUND}
    for density in (0.01, 0.05, 0.5):
        count = int(density * SIZE)
        ours, bare = compared(lambda k=count: select(scores, k), lambda k=count: np.partition(flat.numpy(), SIZE - k))
        figures |= {f"select_{density}_s": ours, f"partition_{density}_s": bare, f"ratio_{density}": ours / bare}
    kept = select(scores, SIZE // 10)
    survivors, fewer = np.concatenate([s[kept[n]].numpy() for n, s in scores.items()]), int(0.095 * SIZE)
    ours, bare = compared(lambda: select(scores, fewer, kept), lambda: np.partition(survivors, len(survivors) - fewer))
    figures |= {"rounds_select_s": ours, "rounds_partition_s": bare}
    record("select", {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()})


if __name__ == "__main__":
    main()
