"""Scores of linear layers, made of inputs and slopes at outputs, are those of autograd, however the layers are used."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import linear

from sparse_ortho.masks import maskable
from sparse_ortho.probe import Probe
from sparse_ortho.scores.synflow import synflow, synflow_as_released
from sparse_ortho.streams import Streams


class Net(nn.Module):
    """What may make a weight more than one product: ties, second calls, rows, subclasses, forwards of their own."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.first, self.second = kind, nn.Linear(5, 4), nn.Linear(4, 4, bias=False)
        self.last, self.between = nn.Linear(4, 3), nn.ReLU(inplace=True)
        if kind == "subclass":
            self.second = Doubled(4, 4)
        if kind == "own forward":
            self.second.forward = partial(thrice, self.second)  # type: ignore[method-assign]  # pyright: ignore
        if kind == "two names":
            self.third = nn.Linear(4, 4)
            self.third.weight = self.second.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.between(self.first(x))
        if self.kind != "never called":
            h = self.between(self.second(h))
        if self.kind == "called twice":
            h = self.second(h)
        if self.kind == "two names":
            h = self.third(h)
        if self.kind == "used otherwise":
            h = linear(linear(h, self.first.weight.t()), self.first.weight)
        if self.kind == "first alone":
            h = linear(x, self.first.weight) + h
        if self.kind == "changed in place":
            y = self.second(h)
            h = y.mul_(y.detach() > y.detach().mean()) + h
        return self.last(h).flatten(1)


def thrice(module: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return 3 * linear(x, module.weight)


class Doubled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


KINDS = ["plain", "subclass", "own forward", "never called", "changed in place"]  # one product a weight
SUMS = ["two names", "called twice", "used otherwise", "first alone"]


def probe_of(model: nn.Module, shape: tuple[int, ...]) -> Probe:
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()}, shape=shape)


def by_autograd(model: nn.Module, shape: tuple[int, ...], logs: bool) -> dict[str, torch.Tensor]:
    """|dR/dp * p| with gradients of the weights themselves."""
    absolute = {name: p.detach().abs() for name, p in model.named_parameters()}
    leaves = {name: absolute[name].requires_grad_() for name in maskable(model)}
    output = functional_call(model, absolute, (torch.ones(1, *shape, dtype=torch.float64),))
    R = (output.log_softmax(1) if logs else output).sum()
    found = torch.autograd.grad(R, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return {n: (g * leaves[n].detach()).abs() for n, g in zip(leaves, found, strict=True)}


def net(kind: str) -> Any:
    torch.manual_seed(0)
    return Net(kind).double()


@pytest.mark.parametrize("logs", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_one_product_has_the_bits_of_autograd(kind: str, logs: bool) -> None:
    found = synflow_as_released(probe_of(net(kind), (5,)), Streams(0), log_softmax=logs)
    expected = by_autograd(net(kind), (5,), logs)
    assert list(found) == list(expected) and all(torch.equal(found[n], expected[n]) for n in expected)
    assert bool(found["first.weight"].any()) and bool(found["second.weight"].any()) == (kind != "never called")


@pytest.mark.parametrize("logs", [False, True])
@pytest.mark.parametrize(("kind", "shape"), [*((kind, (5,)) for kind in SUMS), *((k, (6, 5)) for k in KINDS + SUMS)])
def test_several_uses_and_rows_are_summed_before_signs_are_taken_off(
    kind: str, shape: tuple[int, ...], logs: bool
) -> None:
    found = synflow_as_released(probe_of(net(kind), shape), Streams(0), log_softmax=logs)
    for name, score in by_autograd(net(kind), shape, logs).items():
        torch.testing.assert_close(found[name], score, rtol=1e-11, atol=1e-14)


def test_a_compiled_network_is_scored_by_gradients() -> None:
    compiled = torch.compile(net("plain"), backend="eager")
    found = synflow_as_released(probe_of(compiled, (5,)), Streams(0), log_softmax=False)  # type: ignore[arg-type]
    expected = by_autograd(net("plain"), (5,), False)
    assert list(found) == list(expected) and all(torch.equal(found[n], expected[n]) for n in expected)


def test_rounds_that_follow_see_the_weights_that_are_left() -> None:
    model = net("plain")
    probe = Probe(model, {n: w.detach() for n, w in maskable(model).items()}, shape=(5,), memo={})
    synflow(probe, Streams(0))
    left = {n: w * (torch.arange(w.numel()).view(w.shape) % 3 > 0) for n, w in probe.weights.items()}
    again = synflow(Probe(model, left, shape=(5,), memo=probe.memo), Streams(0))
    A, B, C = (w.abs() for w in left.values())
    h = A.sum(1) + model.first.bias.detach().abs()
    torch.testing.assert_close(again["last.weight"], C * (B @ h), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(again["second.weight"], B * (C.sum(0)[:, None] * h), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(again["first.weight"], A * (C.sum(0) @ B)[:, None], rtol=1e-12, atol=0.0)
