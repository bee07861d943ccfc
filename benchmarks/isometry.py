"""Whether `isometry` reaches the residual of the published descent in a hundredth of its time, and what depth costs.

7x100 MLP on 784 inputs, uniform masks of density 0.1, orthogonal start. The plain loop is the published one: autograd
of sum_l ||C_l C_l^T - I||_F, SGD with step 0.1, 10,000 steps; it is measured over 300 of them, and what it reaches is
taken from `isometry@as_released`, the same steps without autograd, all 10,000 of them. Residuals are sums over layers
of that norm, from singular values in float64. Then 1,000 layers of 128 at density 0.125, over the first 100.
Processor time of one thread. Run as `python -m benchmarks.isometry`; writes benchmarks/results/isometry.json. Takes
half a minute.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.recording import record
from sparse_ortho.inits.isometry import isometry, isometry_as_released
from sparse_ortho.inits.orthogonal import orthogonal
from sparse_ortho.linalg.structural import missing_rank
from sparse_ortho.masks import maskable
from sparse_ortho.models.mlp import mlp
from sparse_ortho.probe import Probe
from sparse_ortho.prune import make_masks
from sparse_ortho.streams import Streams

STEPS, MEASURED = 10_000, 300
Tensors = Mapping[str, torch.Tensor]


def setting(depth: int, width: int, density: float) -> tuple[Probe, dict[str, torch.Tensor]]:
    model = mlp((28, 28), 10, depth=depth, width=width)
    masks = make_masks(model, density, layers="uniform", seed=0)
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()}), dict(masks)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.thread_time()
    made = function()
    return made, time.thread_time() - start


def residual(weights: Tensors) -> float:
    return sum(float((torch.linalg.svdvals(w.double()) ** 2 - 1).norm()) for w in weights.values())


def plain(probe: Probe, masks: Tensors, steps: int) -> None:
    weights = {n: w.requires_grad_() for n, w in orthogonal(probe, masks, Streams(0))[0].items()}
    optimizer = torch.optim.SGD(weights.values(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.zeros(())
        for name, weight in weights.items():
            flat = weight * masks[name]
            gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
            loss = loss + (gram - torch.eye(len(gram))).norm()
        loss.backward()
        optimizer.step()


def main() -> None:
    torch.set_num_threads(1)
    probe, masks = setting(7, 100, 0.1)
    isometry(probe, masks, Streams(0))  # warms up
    (ours, _), seconds = timed(lambda: isometry(probe, masks, Streams(0)))
    loop = timed(lambda: plain(probe, masks, MEASURED))[1] / MEASURED * STEPS
    (released, _), manual = timed(lambda: isometry_as_released(probe, masks, Streams(0), steps=STEPS))
    bound = sum(math.sqrt(missing_rank(mask.numpy())) for mask in masks.values())
    deep, thin = setting(102, 128, 0.125)
    (layers, _), each = timed(lambda: isometry(deep, thin, Streams(0)))
    record(
        "isometry",
        {
            "7x100 at 0.1 (s)": round(seconds, 3),
            "7x100 at 0.1, published loop (s, from 300 steps)": round(loop, 1),
            "7x100 at 0.1, the same without autograd (s)": round(manual, 1),
            "7x100 at 0.1, part of the loop, bound 0.01": round(seconds / loop, 4),
            "7x100 at 0.1, residual": round(residual(ours), 4),
            "7x100 at 0.1, published residual": round(residual(released), 4),
            "7x100 at 0.1, least that the masks allow": round(bound, 4),
            "1,000 layers of 128 (s, from 100)": round(each * 10, 1),
            "128 at 0.125, residual of a layer": round(residual(layers) / len(layers), 4),
        },
    )


if __name__ == "__main__":
    main()
