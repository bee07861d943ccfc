"""The top five eigenvalues of LeNet-300-100's Hessian on 1,000 MNIST-shaped images: seconds, and products counted.

One thread, float32, kaiming initialisation at densities 1 and 0.1 (ERK), before and after 20 steps of SGD on the same
images; images are drawn, because no product takes longer on real ones. Beside it the time of a gradient on the same
images: a product is a forward pass and two backward ones of twice that each, so some 2 to 3 gradients are its bare
cost. `spectrum` is what measure `hessian` does besides: eight probes of forty products.
Run as `python -m benchmarks.hessian`; writes benchmarks/results/hessian.json.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.recording import record
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.measure.curvature import Curvature
from sparse_ortho.measure.hessian import hessian
from sparse_ortho.measure.subject import BATCH, Batch, Subject
from sparse_ortho.models.lenet import lenet300_100
from sparse_ortho.prune import make_masks
from sparse_ortho.streams import Streams

IMAGES, STEPS, REPEATS = 1000, 20, 5


def images() -> list[Batch]:
    """Ten random prototypes and noise, so that a few steps of training learn something."""
    random = np.random.default_rng(0)
    y = random.integers(0, 10, IMAGES)
    x = random.standard_normal((10, 784))[y] + random.standard_normal((IMAGES, 784))
    tensors = torch.from_numpy(x).float().view(-1, 1, 28, 28), torch.from_numpy(y)
    return list(zip(*(tensor.split(BATCH) for tensor in tensors), strict=True))


def seconds(function: Any) -> float:
    """The best of a few, after one to warm up."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def measured(density: float, trained: bool) -> dict[str, Any]:
    model, batches = lenet300_100((1, 28, 28), 10), images()
    masks = make_masks(model, density, score="random", layers="erk", seed=0)
    masks = initialize_(model, masks, "kaiming", seed=0) or masks
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(STEPS if trained else 0):
        x, y = batches[step % len(batches)]
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
        masks.apply_(model)
    subject = Subject(lambda *_: batches, cross_entropy, Streams(0), masks)
    curvature = Curvature(model, subject.surviving(model), batches, cross_entropy)
    vector = curvature.drawn(np.random.default_rng(0))
    start = time.perf_counter()
    top = hessian(model, subject, probes=0)
    taken = time.perf_counter() - start
    start = time.perf_counter()
    whole = hessian(model, subject)
    name = f"density_{density:g}_{'trained' if trained else 'start'}"
    figures = {
        "weights": int(top["weights"]),
        "top5_s": taken,
        "top5_products": int(top["products_top"]),
        "largest": top["largest"],
        "residual": top["residual"],
        "spectrum_s": time.perf_counter() - start,
        "spectrum_products": int(whole["products"]),
        "product_s": seconds(lambda: curvature(vector)),
        "gradient_s": seconds(curvature.gradient),
    }
    return {f"{name}_{key}": value for key, value in figures.items()}


def main() -> None:
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"images": IMAGES}
    for density in (1.0, 0.1):
        for trained in (False, True):
            figures |= measured(density, trained)
    record("hessian", {key: round(v, 4) if isinstance(v, float) else v for key, v in figures.items()})


if __name__ == "__main__":
    main()
