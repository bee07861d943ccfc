"""Soft thresholds: the formula and its gradients in float64, what decay alone does, and the search for a density."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import sparse_ortho as so
from sparse_ortho.errors import UserError
from sparse_ortho.learned.law import decay_to, decayed, gaussian_density, raw_of, steps_to
from sparse_ortho.learned.search import search
from sparse_ortho.learned.soft_threshold import soft_threshold
from sparse_ortho.learned.threshold import Threshold
from sparse_ortho.masks import Masks
from sparse_ortho.streams import Streams
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.thresholded import sum_of_rates

G = {"sigmoid": torch.sigmoid, "exp": torch.exp}


def net(kind: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3)]
    return nn.Sequential(*layers).to(kind)


def started(model: nn.Module, density: float = 0.7, decay: float = 0.0, **options: Any) -> Threshold:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=decay)
    masks = so.make_masks(model, density, layers="uniform", seed=3)
    return soft_threshold(**options).begin(model, optimizer, masks, Streams(0))


def batch(kind: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(32, 1, 4, 4, generator=torch.Generator().manual_seed(1)).to(kind)
    return x, (x.sum((1, 2, 3)) > 0).long()


def formula(raw: torch.Tensor, s: torch.Tensor, frame: torch.Tensor, function: str) -> torch.Tensor:
    """M * sign(W) * relu(|W| - g(s)), left to autograd."""
    return frame * raw.sign() * torch.relu(raw.abs() - G[function](s))


# --- the formula


def test_eight_weights_by_hand() -> None:
    model = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5, -0.25, 0.1, -0.9], [0.0, 0.3, -0.2, 0.25]]))
    masks = Masks({"weight": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    live = soft_threshold(function="exp", s_init=math.log(0.25)).begin(model, optimizer, masks, Streams(0))
    expected = torch.tensor([[0.25, 0.0, 0.0, 0.0], [0.0, 0.05, 0.0, 0.0]])
    torch.testing.assert_close(model.weight.detach(), expected, rtol=0, atol=1e-7)
    assert live.masks["weight"].int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("function", ["sigmoid", "exp"])
def test_forward_and_gradients_are_those_of_the_formula(function: Any, scope: Any) -> None:
    model = net()
    live = started(model, function=function, scope=scope, s_init=-3.0)
    with torch.no_grad():
        for i, s in enumerate(live.s.values()):
            s.add_(0.3 * i)
        live.show()
    raw = {name: p.detach().clone().requires_grad_() for name, p in live.raw.items()}
    s = {name: p.detach().clone().requires_grad_() for name, p in live.s.items()}
    weights = {name: formula(raw[name], s[live.of[name]], live.frame[name], function) for name in raw}
    x, y = batch()
    for name, weight in weights.items():
        assert torch.equal(model.get_parameter(name), weight) and torch.equal(live.masks[name], weight != 0)
    cross_entropy(torch.func.functional_call(model, weights, (x,)), y).backward()
    cross_entropy(model(x), y).backward()
    live.before_step()
    for mine, theirs in ((live.raw, raw), (live.s, s)):
        for name, parameter in mine.items():
            grad = theirs[name].grad
            assert parameter.grad is not None and grad is not None and grad.any()
            torch.testing.assert_close(parameter.grad, grad, rtol=1e-10, atol=1e-14)
    assert all(model.get_parameter(name).grad is None for name in raw)


def test_a_training_is_that_of_the_formula_in_every_step() -> None:
    """Oracle: SGD on W and s themselves, with the formula before every pass, in float64."""
    model = net()
    live = started(model, decay=1e-2, s_init=-4.0, s_decay=0.3)
    raw = {name: p.detach().clone().requires_grad_() for name, p in live.raw.items()}
    s = {name: p.detach().clone().requires_grad_() for name, p in live.s.items()}
    others = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters() if name not in raw}
    plain = {"params": [*others.values(), *raw.values()], "weight_decay": 1e-2}
    groups = [plain, {"params": [*s.values()], "weight_decay": 0.3}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    x, y = batch()
    densities = []
    for _ in range(25):
        live.optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        live.before_step()
        live.optimizer.step()
        live.after_step()
        weights = {name: formula(raw[name], s[live.of[name]], live.frame[name], "sigmoid") for name in raw}
        optimizer.zero_grad()
        cross_entropy(torch.func.functional_call(model, weights | others, (x,)), y).backward()
        optimizer.step()
        densities.append(live.masks.density)
    for name in raw:
        expected = formula(raw[name], s[live.of[name]], live.frame[name], "sigmoid")
        torch.testing.assert_close(model.get_parameter(name), expected, rtol=1e-9, atol=1e-12)
        assert not (live.masks[name] & ~live.frame[name]).any()
    assert densities[-1] < 0.5 * densities[0]


def test_no_threshold_acts_where_the_sigmoid_underflows() -> None:
    model, plain = net(torch.float32), net(torch.float32)
    live = started(model, s_init=-200.0)
    masks = so.make_masks(plain, 0.7, layers="uniform", seed=3)
    masks.apply_(plain)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    x, y = batch(torch.float32)
    for _ in range(5):
        for network, optim in ((model, live.optimizer), (plain, optimizer)):
            optim.zero_grad()
            cross_entropy(network(x), y).backward()
        live.before_step()
        live.optimizer.step()
        live.after_step()
        optimizer.step()
        masks.apply_(plain)
    assert all(float(value) == 0 for value in live.thresholds().values())
    assert all(s.item() == -200 for s in live.s.values())  # without decay nothing moves it
    assert live.masks.digest() == masks.digest()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_a_weight_that_starts_at_zero_is_trained_while_no_threshold_acts() -> None:
    model = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    masks = Masks({"weight": torch.ones(2, 4, dtype=torch.bool)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    live = soft_threshold().begin(model, optimizer, masks, Streams(0))
    model(torch.ones(1, 4)).sum().backward()
    live.before_step()
    optimizer.step()
    live.after_step()
    assert live.masks["weight"].all() and (model.weight == -0.1).all()


@pytest.mark.parametrize(("first", "last"), [("mask", "threshold"), ("threshold", "mask"), ("mask", "mask")])
def test_ends_without_a_threshold_keep_their_mask(first: Any, last: Any) -> None:
    model = net()
    live = started(model, s_init=-1.0, first_layer=first, last_layer=last)
    ends = {"0.weight": first, "5.weight": last}
    for name, mask in live.masks.items():
        same = torch.equal(mask, live.frame[name])
        assert same == (ends.get(name) == "mask")
        assert (name in live.thresholds()) == (not same)


# --- decay alone


@pytest.mark.parametrize(("decay", "end"), [(1e-4, -73.6), (5e-4, -1.35), (1e-3, -0.009)])
def test_decay_alone_ends_where_the_seeds_table_says(decay: float, end: float) -> None:
    assert decayed(-200.0, decay, 1000.0, 0.9) == pytest.approx(end, rel=0.02)


def test_the_law_is_that_of_the_optimizer() -> None:
    s = nn.Parameter(torch.tensor(-200.0, dtype=torch.float64))
    optimizer = torch.optim.SGD([s], lr=0.01, momentum=0.9, weight_decay=1e-2)
    for _ in range(4000):
        s.grad = torch.zeros_like(s)
        optimizer.step()
    assert s.item() == pytest.approx(decayed(-200.0, 1e-2, 40.0, 0.9), rel=0.05)


def test_the_sum_of_the_rates_and_the_time_of_the_threshold_are_those_of_the_seed() -> None:
    """CIFAR, batch 256: 196 steps an epoch, 100 epochs, five of them warm-up, cosine to 0."""
    options = TrainOptions(epochs=100, batch_size=256, lr=0.1, schedule="cosine", warmup="5ep")
    assert sum_of_rates(options, 50_000) == pytest.approx(1000, rel=0.03)
    warming = [0.1 * (k // 196 + 1) / 6 for k in range(980)]
    rates = warming + [0.05 * (1 + math.cos(math.pi * k / 18620)) for k in range(18620)]
    for decay, epoch in ((5e-4, 34), (1e-3, 17)):
        step = steps_to(-200.0, -10.0, decay, rates, 0.9)
        assert step is not None and abs(step / 196 - epoch) < 2
    assert steps_to(-200.0, -10.0, 1e-4, rates, 0.9) is None


def test_inverses_are_inverses() -> None:
    decay = decay_to(-200.0, -4.0, 300.0, 0.9)
    assert decayed(-200.0, decay, 300.0, 0.9) == pytest.approx(-4.0)
    for function in G:
        assert float(G[function](torch.tensor(raw_of(0.03, function)))) == pytest.approx(0.03, rel=1e-5)
    weights = 0.1 * torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    assert gaussian_density(0.15, 0.1) == pytest.approx(float((weights.abs() > 0.15).float().mean()), rel=0.02)
    with pytest.raises(UserError, match="cannot be reached by decay from -10"):
        decay_to(-10.0, -20.0, 300.0, 0.9)


# --- the search


@pytest.mark.parametrize("target", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("first", [1e-5, 1e-3, 1.0])
def test_the_search_finds_a_falling_density_with_few_trainings(first: float, target: float) -> None:
    def density(value: float) -> float:
        return 1 / (1 + (value / 2e-3) ** 1.7)

    found = search(density, target, first, tolerance=0.05, most=14)
    assert found.hit and abs(density(found.value) - target) <= 0.05 * target and len(found.tried) <= 14
    assert found == search(density, target, first, tolerance=0.05, most=14)


def test_the_search_survives_a_cliff_and_says_what_it_has_not_found() -> None:
    found = search(lambda v: 0.4 if v < 0.1 else 0.0, 0.05, 1e-3, tolerance=0.05, most=9)
    assert not found.hit and len(found.tried) == 9 and found.density == 0.4
    smooth = search(lambda v: max(0.0, 0.5 - v), 0.05, 0.001, tolerance=0.1, most=12)
    assert smooth.hit and smooth.value == pytest.approx(0.45, abs=0.006)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"s_decay": -1.0}, "rule.soft_threshold.s_decay: must be at least 0"),
        ({"target_density": 1.5}, "rule.soft_threshold.target_density: out of range"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        started(net(), **options)


def test_a_single_layer_needs_its_threshold() -> None:
    with pytest.raises(UserError, match="leaves no layer with a threshold"):
        started(nn.Linear(4, 2), first_layer="mask")
