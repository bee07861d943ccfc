"""Every model takes a training step, every initialisation starts small networks, gradients are those of float64."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sparse_ortho import registry
from sparse_ortho.inits.initialize import initialize
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.models.deep_conv import deep_conv
from sparse_ortho.models.lenet import lenet5
from sparse_ortho.models.mlp import mlp
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.prune import make_masks
from sparse_ortho.streams import Streams
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.resident import resident
from tests.contract.test_methods import SHORT
from tests.contract.test_models import CASES, builder

CPU = torch.device("cpu")
FIRST = dict(reversed(CASES))  # one shape a model
SMALL = {
    "mlp": (functools.partial(mlp, width=16, depth=4), (1, 8, 8)),
    "resnet": (functools.partial(cifar_resnet, depth=8, width=8), (1, 8, 8)),
    "lenet5": (lenet5, (1, 28, 28)),
}


def images(shape: tuple[int, ...], train: int = 4) -> dict[str, Any]:
    """Train, validation and test of random images."""
    facts = {"shape": shape, "classes": 5, "mean": [0.5] * shape[0], "std": [0.25] * shape[0], "scale": 255.0}
    rng, n = np.random.default_rng(0), train + 2
    pixels = rng.integers(0, 256, (n, *shape)).astype(np.uint8)
    if len(shape) == 1:
        pixels, facts = rng.standard_normal((n, *shape)).astype(np.float32), facts | {"mean": [0.0], "std": [1.0]}
        facts["scale"] = 1.0
    parts = {"train": np.arange(train), "validation": np.array([train]), "test": np.array([train + 1])}
    return {"data": {"images": pixels, "labels": np.arange(n) % 5, **parts}, "facts": facts}


def step(model: torch.nn.Module, masks: Masks, shape: tuple[int, ...]) -> dict[str, Any]:
    made = images(shape)
    options = TrainOptions(epochs=1, batch_size=4, lr=0.01)
    outcome = train_seed(model, resident(made["data"], made["facts"], CPU), masks, options, Streams(0), CPU)
    assert all(not maskable(model)[name][~mask].any() for name, mask in masks.items())
    return outcome.record


@pytest.mark.parametrize("name", registry.table("models"))
def test_every_model_takes_a_step_at_a_density(name: str) -> None:
    torch.manual_seed(0)
    model = builder(name)(FIRST[name], 5)
    masks = make_masks(model, 0.3, layers="erk", seed=0)
    initialize(model, masks, "kaiming", Streams(0))
    before = {n: w.detach().clone() for n, w in maskable(model).items()}
    record = step(model, masks, FIRST[name])
    assert record["status"] == "ok" and record["density"] == pytest.approx(0.3, abs=1e-3)
    assert all(not torch.equal(before[n], w) for n, w in maskable(model).items())


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("init", registry.table("inits"))
def test_every_initialisation_starts_three_small_networks(init: str, network: str) -> None:
    build, shape = SMALL[network]
    torch.manual_seed(0)
    model = build(shape, 5)
    masks = make_masks(model, 0.5, layers="uniform", seed=0)
    if init == "sao":  # its layers need degrees that divide; between dense ends there is one
        masks = make_masks(model, 0.9, layers="uniform_skip", seed=0)
    data = [(torch.randn(6, *shape), torch.arange(6) % 5) for _ in range(3)]
    started = initialize(model, masks, init, Streams(0), options=SHORT.get(init, {}), batches=data)
    assert started is not None
    assert step(model, started, shape)["status"] == "ok"


@pytest.mark.parametrize("name", registry.table("models"))
def test_gradients_are_those_of_float64(name: str) -> None:
    """In evaluation mode, where nothing is drawn and normalisation is a fixed scale."""
    shape, found = FIRST[name], []
    for kind in (torch.float32, torch.float64):
        torch.manual_seed(0)
        model = builder(name)(shape, 5)
        initialize(model, None, "kaiming", Streams(0))
        model.to(kind).eval()
        x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1)).to(kind)
        F.cross_entropy(model(x), torch.tensor([0, 1])).backward()
        found.append({n: p.grad.double() for n, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    whole = torch.stack([g.norm() for g in found[1].values()]).norm()
    assert whole > 0
    error = torch.stack([(found[0][n] - g).norm() for n, g in found[1].items()]).norm()
    assert error < 2e-4 * whole


def test_the_thousand_layer_cnn_at_sixteen_channels_carries_a_signal_both_ways_and_takes_a_step() -> None:
    """The published start: tanh, gain^2 = 1.05, an orthogonal delta kernel in each layer."""
    torch.manual_seed(0)
    model = deep_conv((3, 32, 32), 5, depth=1000, width=16)
    assert len(maskable(model)) == 998  # 997 convolutions and the linear layer, as the released program counts them
    masks = make_masks(model, 0.25, layers="uniform", seed=0)
    started = initialize(model, masks, "eoi", Streams(0), options={"gain": 1.0247}, bias_std=0.00448)
    assert started is not None
    x = torch.randn(2, 3, 32, 32)
    logits = model(x)
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    first = next(model.parameters()).grad
    assert first is not None and first.isfinite().all() and first.norm() > 1e-6
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    assert step(model, started, (3, 32, 32))["status"] == "ok"
