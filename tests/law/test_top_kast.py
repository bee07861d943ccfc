"""Top-KAST moves only what is in B alone, and is to the bit what copies of all of theta give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sparse_ortho.budgets import budget
from sparse_ortho.rewiring import top_kast
from sparse_ortho.rewiring.memory import in_memory, spots
from sparse_ortho.rewiring.sparse_training import SparseTraining
from sparse_ortho.streams import Streams

NAMES = ("0.weight", "3.weight")
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=1e-2, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=1e-2),
}
EVERY, STOP, PULL = 3, 11, 0.05


def started(kind: str, channels_last: bool) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 4))
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return model, OPTIMIZERS[kind](model.parameters())


def slopes(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    x, y = torch.randn(8, 3, 4, 4, generator=generator), torch.randint(4, (8,), generator=generator)
    model.zero_grad()
    cross_entropy(model(x), y).backward()


class WithCopies:
    """w = theta on A, the gradient on B with the pull of each part, the optimizer on all of theta, B kept of it."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, density: float):
        self.optimizer, self.weights = optimizer, {name: model.get_parameter(name) for name in NAMES}
        self.theta = {name: weight.detach().clone() for name, weight in self.weights.items()}
        sizes = {name: weight.numel() for name, weight in self.weights.items()}
        total = budget(density, sum(sizes.values()))
        self.inner = {"0.weight": total * sizes["0.weight"] // sum(sizes.values())}
        self.inner["3.weight"] = total - self.inner["0.weight"]
        self.outer = {name: 2 * count for name, count in self.inner.items()}
        self.pulls = {name: PULL * sizes[name] / self.inner[name] for name in NAMES}
        self.choose(0)

    @torch.no_grad()
    def choose(self, step: int) -> None:
        ties = {n: torch.from_numpy(Streams(0)("rewiring", f"{n}/{step}").random(self.theta[n].shape)) for n in NAMES}
        outer = self.outer if step < STOP else self.inner
        self.a, self.b = top_kast.forward_and_backward(self.theta, self.inner, outer, lambda name, _: ties[name])
        for name, weight in self.weights.items():
            weight.copy_(torch.where(self.a[name], self.theta[name], 0))

    @torch.no_grad()
    def step(self, number: int) -> None:
        for name, weight in self.weights.items():
            inside = self.b[name].to(weight.dtype)
            pull = inside * torch.where(self.a[name], PULL, self.pulls[name]).to(weight.dtype)
            assert weight.grad is not None
            weight.grad.mul_(inside).addcmul_(self.theta[name], pull)
            weight.copy_(self.theta[name])
        self.optimizer.step()
        for name, weight in self.weights.items():
            self.theta[name] = torch.where(self.b[name], weight, self.theta[name])
            for value in self.optimizer.state[weight].values():
                if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                    value.masked_fill_(~self.b[name], 0)
            weight.copy_(torch.where(self.a[name], self.theta[name], 0))
        if number == STOP or (number < STOP and number % EVERY == 0):
            self.choose(number)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_is_to_the_bit_that_with_copies_of_all_weights(kind: str, channels_last: bool) -> None:
    (model, optimizer), (twin, other) = started(kind, channels_last), started(kind, channels_last)
    masks = {name: torch.ones_like(model.get_parameter(name), dtype=torch.bool) for name in NAMES}
    told: dict[str, Any] = {"every": EVERY, "stop": STOP, "final_density": 0.2, "backward": 2.0, "pull": PULL}
    sparse, copies = SparseTraining(model, optimizer, masks, "top_kast", **told), WithCopies(twin, other, 0.2)
    live, moved, entered = sparse._live, 0, 0
    assert isinstance(live, top_kast.Widening)
    for step in range(1, 16):
        before, wide = sparse.masks.digest(), {name: live.wide[name].clone() for name in NAMES}
        slopes(model, step)
        sparse.step()
        slopes(twin, step)
        copies.step(step)
        moved += sparse.masks.digest() != before
        for name in NAMES:
            assert torch.equal(sparse.masks[name], copies.a[name]) and torch.equal(live.wide[name], copies.b[name])
            assert torch.equal(model.get_parameter(name), twin.get_parameter(name))
            assert torch.equal(live.theta[name], copies.theta[name])
            entered += int((sparse.masks[name] & ~wide[name]).sum())
        for one, two in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.equal(one, two)
    assert moved >= 3 and entered >= 1, "weights from outside of B have come into A"


def test_in_channels_last_places_are_those_of_memory() -> None:
    values = torch.arange(16.0).view(1, 4, 2, 2)
    laid = values.clone(memory_format=torch.channels_last)
    assert in_memory(values).tolist() == list(range(16))
    assert in_memory(laid).tolist() == [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]
    places = torch.tensor([14, 3, 0, 5])
    for tensor in (values, laid):
        assert in_memory(tensor)[spots(tensor, places)].tolist() == [14, 3, 0, 5]
