"""What tests of rules share: a network in a loop of its own, trainings by the engine, interrupted ones, two ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sparse_ortho.artifacts import canonical
from sparse_ortho.masks import Masks
from sparse_ortho.prune import make_masks
from sparse_ortho.registry import load
from sparse_ortho.rewiring.sparse_training import SparseTraining
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.resident import resident
from sparse_ortho.training.rewired import Rewired
from sparse_ortho.training.together import train_together
from tests.law.test_training import CPU, FACTS, half_masks, network, toy

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=1e-2, amsgrad=True),
}
KINDS: dict[str, dict[str, Any]] = {  # of trainings by the engine
    "sgd": {"clip_norm": 0.5},
    "adam-averaged": {"optimizer": "adam", "lr": 0.01, "ema": 0.8},
    "fp16": {"precision": "fp16"},
}
Begun = tuple[nn.Module, SparseTraining]


def start(kind: str = "sgd", density: float = 0.4) -> tuple[nn.Module, torch.optim.Optimizer, Masks]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    return model, OPTIMIZERS[kind](model.parameters()), make_masks(model, density, seed=1)


def batches(steps: int, seed: int = 2) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(16, 6, generator=generator)
        yield x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def backward(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    model.zero_grad()
    cross_entropy(model(x), y).backward()


def train(sparse: SparseTraining, model: nn.Module, steps: int, seed: int = 2) -> None:
    for x, y in batches(steps, seed):
        backward(model, x, y)
        sparse.step()


def everything(model: nn.Module, sparse: SparseTraining) -> list[bytes]:
    weights = [value.numpy().tobytes() for value in model.state_dict().values()]
    kept = [v.numpy().tobytes() for s in sparse.optimizer.state_dict()["state"].values() for v in s.values()]
    return weights + kept + [mask.numpy().tobytes() for mask in sparse.masks.values()]


def interrupted(fresh: Callable[[], Begun], steps: int, cut: int) -> tuple[Begun, dict[str, Any]]:
    """A training of so many steps that another one has begun, and what that one saved of its rule."""
    first, begun = fresh()
    data = list(batches(steps))
    for x, y in data[:cut]:
        backward(first, x, y)
        begun.step()
    saved = (first.state_dict(), begun.optimizer.state_dict(), begun.state_dict())
    second, resumed = fresh()
    second.load_state_dict(saved[0])
    resumed.optimizer.load_state_dict(saved[1])
    resumed.load_state_dict(saved[2])
    for x, y in data[cut:]:
        backward(second, x, y)
        resumed.step()
    return (second, resumed), saved[2]


class Stop(Exception):
    pass


class StopAfter(Part):
    def __init__(self, steps: int):
        self.left = steps

    def after_step(self, run: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stop


def engine_run(
    rule: str,
    told: Mapping[str, Any],
    stop: int = 0,
    checkpoint: Checkpointer | None = None,
    dense: bool = False,
    **options: Any,
) -> tuple[Any, ...]:
    """A training by the engine from masks of half of the weights, or of all, and all that it leaves behind."""
    torch.set_num_threads(1)
    model = network()
    masks = {n: torch.ones_like(m) if dense else m for n, m in half_masks(model).items()}
    parts = [Rewired(load("rules", rule)(**told)), StopAfter(stop)]
    given = TrainOptions(**{"epochs": 3, "batch_size": 5, "lr": 0.05, **options})
    data = resident(toy(), FACTS, CPU)
    outcome = train_seed(model, data, masks, given, Streams(3), CPU, parts=parts, checkpoint=checkpoint)
    for name, mask in masks.items():
        assert not model.get_parameter(name)[~mask].any()
    weights = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    digest = Masks(masks).digest()
    return weights, digest, canonical(outcome.record), canonical(outcome.curves), outcome.record["nonzeros"]


class Double(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = network().double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inside(x.double())


def refuse_other_masks_of_two_ranks(rule: str, told: Mapping[str, Any], folder: Path) -> None:
    """The loop itself compares the masks of all ranks after every epoch; in float64 rounding changes no order."""
    found = {}
    for ranks in (1, 2):
        model = Double()
        masks = half_masks(model)
        options = TrainOptions(epochs=2, batch_size=6, lr=0.05, ranks=ranks)
        given = (model, resident(toy(24), FACTS, CPU), masks, options, Streams(3), CPU)
        parts = [Rewired(load("rules", rule)(**told))]
        if ranks == 1:
            train_seed(*given, parts=parts)
        else:
            train_together(*given, parts=parts, folder=folder)
        found[ranks] = (Masks(masks).digest(), [value.numpy() for value in model.state_dict().values()])
    assert found[1][0] == found[2][0] != Masks(half_masks(Double())).digest()
    for one, two in zip(found[1][1], found[2][1], strict=True):
        np.testing.assert_allclose(one, two, atol=1e-9)
