"""What GradInit costs over the bare passes of its definition: at most twice as much, over five iterations on ResNet-32.

Two batches of 64 images of 3x32x32 together, ERK masks of density 0.1. Bare is what the definition has autograd do and
nothing else, on the model itself: above the bound one pass with a graph and the derivative of its norm, below it one
pass (counted without the graph that the definition has it build, the stricter measure) and one of the look-ahead. Ours
adds masks, scales, buffers of its own and the descent. Processor time of one thread. Run as `python -m
benchmarks.gradinit`; writes benchmarks/results/gradinit.json. Takes about a minute and a half.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.recording import record
from sparse_ortho.inits.functional import Function, endless
from sparse_ortho.inits.rescaling import Options, learnt_scales
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.prune import make_masks

ROWS, ITERATIONS = 64, 5


def timed(function: Callable[[], Any]) -> float:
    start = time.thread_time()
    function()
    return time.thread_time() - start


def bare(model: nn.Module, data: list[Any], graph: bool) -> None:
    parameters = list(model.parameters())
    for _ in range(ITERATIONS):
        x, y = torch.cat([data[0][0], data[1][0]]), torch.cat([data[0][1], data[1][1]])
        found = torch.autograd.grad(cross_entropy(model(x), y), parameters, create_graph=graph)
        if graph:
            norm = torch.stack([slope.norm() for slope in found]).norm()
            torch.autograd.grad(norm, parameters)
        else:
            torch.autograd.grad(cross_entropy(model(x), y), parameters)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = cifar_resnet((3, 32, 32), 10, depth=32).train()
    masks = dict(make_masks(model, 0.1, seed=0))
    data = [(torch.randn(ROWS, 3, 32, 32), torch.randint(0, 10, (ROWS,))) for _ in range(3)]
    function = Function(model, cross_entropy)
    start = {n: v * masks[n] if n in masks else v.clone() for n, v in function.parameters().items()}

    def ours(gamma: float, iters: int = ITERATIONS) -> None:
        told = Options(iters, 0.01, 0.1, gamma, "sgd", True, 0.01, 1.0, True)
        learnt_scales(function, start, masks, endless(data, 0, ""), told)

    ours(1e-9, 1)  # warms up
    bound, plain_bound = timed(lambda: ours(1e-9)), timed(lambda: bare(model, data, True))
    ahead, plain_ahead = timed(lambda: ours(1e9)), timed(lambda: bare(model, data, False))
    record(
        "gradinit",
        {
            "above the bound, an iteration (s)": round(bound / ITERATIONS, 3),
            "above the bound, its bare passes (s)": round(plain_bound / ITERATIONS, 3),
            "above the bound, ratio, bound 2": round(bound / plain_bound, 3),
            "below the bound, an iteration (s)": round(ahead / ITERATIONS, 3),
            "below the bound, its bare passes (s)": round(plain_ahead / ITERATIONS, 3),
            "below the bound, ratio, bound 2": round(ahead / plain_ahead, 3),
        },
    )


if __name__ == "__main__":
    main()
