"""GradInit and MetaInit against finite differences in float64, hand-written steps and quadratics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import sparse_ortho as so
from sparse_ortho.errors import UserError
from sparse_ortho.inits import rescaling
from sparse_ortho.inits.functional import Function, endless, gradients
from sparse_ortho.inits.metainit import gradient_quotient
from sparse_ortho.inits.rescaling import Moments, Options, learnt_scales
from sparse_ortho.masks import maskable
from sparse_ortho.stages.batches import TrainingBatches
from sparse_ortho.streams import Streams

SETTINGS: dict[str, Any] = {
    **{"iters": 3, "lr": 0.01, "eta": 0.1, "gamma": 1.0, "alg": "sgd", "normalize": True},
    **{"min_scale": 0.01, "clip": 1.0, "overlap": True},
}


def options(**given: Any) -> Options:
    return Options(**{**SETTINGS, **given})


def net(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Normalisation, dropout and a smooth activation; biases that are not 0."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    nn.init.uniform_(model[1].weight, 0.5, 1.5)  # type: ignore[arg-type]
    return model


def batches(n: int = 3, rows: int = 5, dtype: torch.dtype = torch.float64) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [(torch.randn(rows, 4, generator=generator, dtype=dtype), torch.arange(rows) % 3) for _ in range(n)]


def setting(masked: bool = True) -> tuple[Function, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    function = Function(net(), cross_entropy)
    start = {name: value.clone() for name, value in function.parameters().items()}
    masks = {"0.weight": torch.arange(24).view(6, 4) % 3 > 0} if masked else {}
    return function, {n: v * masks[n] if n in masks else v for n, v in start.items()}, masks


def loss_at(function: Function, start: Any, free: Any, scales: np.ndarray, batch: Any, less: Any = None) -> float:
    theta = {n: v * scales[free.index(n)] if n in free else v for n, v in start.items()}
    theta = theta if less is None else {n: v - less[n] for n, v in theta.items()}
    return float(function(theta, batch).detach())


def differences(value: Any, scales: np.ndarray, h: float = 1e-6) -> np.ndarray:
    found = []
    for i in range(len(scales)):
        step = np.eye(len(scales))[i] * h
        found.append((value(scales + step) - value(scales - step)) / (2 * h))
    return np.array(found)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("given", [{}, {"normalize": False}, {"alg": "adam"}, {"overlap": False}])
def test_the_slope_of_the_look_ahead_is_that_of_finite_differences(given: dict[str, Any], masked: bool) -> None:
    told = options(gamma=1e9, **given)
    function, start, masks = setting(masked)
    free, drawn = [n for n, v in start.items() if v.any()], batches(4)
    scales = np.linspace(0.8, 1.2, len(free))
    at = torch.from_numpy(scales)
    with function.modes():
        first, ahead = rescaling.joined(drawn[0], drawn[1]), rescaling.joined(drawn[0 if told.overlap else 3], drawn[2])
        theta = {n: v.requires_grad_() for n, v in rescaling.scaled(start, free, at).items()}
        g = {n: (v * masks[n] if n in masks else v) for n, v in gradients(function, theta, first, graph=False).items()}
        size = math.sqrt(sum(float((v**2).sum()) for v in g.values()))
        step = {n: 0.1 * (v.sign() if told.alg == "adam" else v / size if told.normalize else v) for n, v in g.items()}
        expected = differences(lambda s: loss_at(function, start, free, s, ahead, step) / 0.1, scales)
        found, bounded = rescaling.slopes(function, start, masks, free, at, drawn, told, False)
    assert not bounded
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("alg", ["sgd", "adam"])
@pytest.mark.parametrize("before", [True, False])
def test_above_the_bound_the_slope_is_that_of_the_norm(alg: str, before: bool) -> None:
    function, start, masks = setting()
    free, drawn = [n for n, v in start.items() if v.any()], batches(3)
    scales = np.linspace(0.8, 1.2, len(free))

    def size(s: np.ndarray) -> float:
        theta = {n: (v * s[free.index(n)] if n in free else v.clone()).requires_grad_() for n, v in start.items()}
        g = gradients(function, theta, rescaling.joined(drawn[0], drawn[1]), graph=False)
        flat = torch.cat([(v * masks[n] if n in masks else v).reshape(-1) for n, v in g.items()])
        return float(flat.abs().sum() if alg == "adam" else flat.norm())

    with function.modes():
        at = torch.from_numpy(scales)
        told = options(gamma=size(scales) * 0.99, alg=alg)
        found, bounded = rescaling.slopes(function, start, masks, free, at, drawn, told, before)
        assert bounded
        np.testing.assert_allclose(found.numpy(), differences(size, scales), rtol=1e-4, atol=1e-7)
        under = options(gamma=size(scales) * 1.01, alg=alg)
        assert not rescaling.slopes(function, start, masks, free, at, drawn, under, before)[1]


class Recorder(Function):
    def __init__(self, model: nn.Module):
        super().__init__(model, cross_entropy)
        self.seen: list[dict[str, torch.Tensor]] = []

    def __call__(self, theta: Any, batch: Any) -> torch.Tensor:
        self.seen.append({name: value.detach().clone() for name, value in theta.items()})
        return super().__call__(theta, batch)


@pytest.mark.parametrize("alg", ["sgd", "adam"])
def test_masked_weights_stay_zero_in_the_look_ahead(alg: str) -> None:
    _, start, masks = setting()
    for told, alive in ((masks, False), ({}, True)):  # with gradients that know no mask, as released, they live
        recorder = Recorder(net())
        learnt_scales(recorder, start, told, endless(batches(), 0, ""), options(gamma=0.0, alg=alg))
        assert len(recorder.seen) == 6
        assert bool(recorder.seen[1]["0.weight"][~masks["0.weight"]].any()) == alive
        assert not torch.equal(recorder.seen[1]["0.weight"], recorder.seen[0]["0.weight"])


def test_the_scale_step_is_adam_with_two_first_moments_and_one_second() -> None:
    moments, scales = Moments(), np.array([1.0, 1.0])
    m, v, counts = {"objective": 0.0, "constraint": 0.0}, np.zeros(2), {"objective": 0, "constraint": 0}
    for kind, slope in [("objective", [0.5, -1.0]), ("constraint", [0.1, 0.3]), ("objective", [-0.2, 0.4])]:
        g = np.array(slope)
        counts[kind] += 1
        m[kind] = 0.9 * m[kind] + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        expected = m[kind] / (1 - 0.9 ** counts[kind]) / (np.sqrt(v / (1 - 0.999 ** sum(counts.values()))) + 1e-8)
        found = moments.direction(torch.tensor(slope, dtype=torch.float64), kind)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
        scales = scales - 0.01 * expected


def test_scales_stay_above_their_floor_and_those_of_biases_above_zero() -> None:
    function, start, masks = setting()
    found = learnt_scales(function, start, masks, endless(batches(), 0, ""), options(iters=60, lr=0.3, min_scale=0.4))
    assert found.keys() == start.keys()
    assert all(scale >= (0 if name.endswith("bias") else 0.4) for name, scale in found.items())
    assert any(scale == 0.4 for scale in found.values()) or min(found.values()) == 0


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) + self.b(x)


def test_tensors_without_a_norm_have_no_scale() -> None:
    model = Sum()
    with torch.no_grad():
        model.b.bias.zero_()
    masks = {"a.weight": torch.zeros(3, 4, dtype=torch.bool)}
    found = so.gradinit_(model, batches(dtype=torch.float32), masks, iters=4)
    assert found["b.bias"] == found["a.weight"] == 1 and found["a.bias"] != 1 != found["b.weight"]
    assert not model.a.weight.any() and not model.b.bias.any()


def test_weights_become_their_scale_times_what_they_were_and_nothing_else_changes() -> None:
    model, before = net(torch.float32), net(torch.float32)
    masks = so.make_masks(model, 0.5, seed=0)
    model.eval()
    state = torch.get_rng_state()
    scales = so.gradinit_(model, batches(dtype=torch.float32), masks, iters=5)
    for name, parameter in model.named_parameters():
        expected = before.get_parameter(name) * masks.get(name, 1) * scales[name]
        torch.testing.assert_close(parameter, expected, rtol=1e-6, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), before.buffers(), strict=True))
    assert not any(module.training for module in model.modules()) and torch.equal(torch.get_rng_state(), state)
    assert any(abs(scale - 1) > 0.01 for scale in scales.values())


def test_gradinit_lowers_the_loss_after_a_step() -> None:
    model = net(torch.float32)
    with torch.no_grad():
        model.get_parameter("4.weight").mul_(8)  # far too large

    def after_a_step() -> float:
        function = Function(model, cross_entropy)
        theta = {name: value.clone().requires_grad_() for name, value in function.parameters().items()}
        with function.modes():
            g = gradients(function, theta, batches(1, dtype=torch.float32)[0], graph=False)
            size = torch.sqrt(sum(((v**2).sum() for v in g.values()), torch.zeros(())))
            ahead = {n: v - 0.1 * g[n] / size for n, v in theta.items()}
            return function(ahead, batches(2, dtype=torch.float32)[1]).item()

    before = after_a_step()
    so.gradinit_(model, batches(6, dtype=torch.float32), iters=100)
    assert after_a_step() < 0.8 * before


def test_dense_first_is_the_dense_result_under_the_mask() -> None:
    data = batches(dtype=torch.float32)
    dense, sparse, released = net(torch.float32), net(torch.float32), net(torch.float32)
    masks = so.make_masks(sparse, 0.4, seed=1)
    so.initialize_(dense, None, "gradinit", seed=3, data=data, iters=30)
    kept = so.initialize_(sparse, masks, "gradinit", seed=3, data=data, iters=30, order="dense_first")
    assert kept is not None and kept.digest() == masks.digest()
    for name, parameter in dense.named_parameters():
        assert torch.equal(sparse.get_parameter(name), parameter * kept[name] if name in kept else parameter)
    so.initialize_(released, masks, "gradinit@as_released", seed=3, data=data, iters=30)
    inside = net(torch.float32)
    so.initialize_(inside, masks, "gradinit", seed=3, data=data, iters=30)
    ratio = {n: w[masks[n]] / inside.get_parameter(n)[masks[n]] for n, w in maskable(released).items()}
    assert any((r - 1).abs().max() > 1e-4 for r in ratio.values()), "gradients of pruned weights change the scales"
    assert all((r - r[0]).abs().max() < 1e-5 for r in ratio.values()), "and only scales"


def test_the_base_moves_masks_and_gets_its_biases() -> None:
    model = net(torch.float32)
    masks = so.make_masks(model, 0.5, seed=0)
    made = so.initialize_(
        model, masks, "gradinit", seed=0, data=batches(dtype=torch.float32), base="eoi", iters=3, bias_std=0.1
    )
    plain = net(torch.float32)
    eoi = so.initialize_(plain, masks, "eoi", seed=0, bias_std=0.1)
    assert made is not None and eoi is not None and made.digest() == eoi.digest() != masks.digest()
    for name in ("0.weight", "0.bias", "4.bias"):
        ours, theirs = model.get_parameter(name).detach(), plain.get_parameter(name).detach()
        on = theirs != 0
        scale = (ours[on] / theirs[on]).mean()
        assert scale != 1 and torch.allclose(ours, theirs * scale, rtol=1e-5)


def test_layers_without_a_mask_are_scaled_together_with_the_others() -> None:
    model, twin = net(torch.float32), net(torch.float32)
    data = batches(dtype=torch.float32)
    some = {"0.weight": torch.arange(24).view(6, 4) % 2 == 0}
    every = some | {"4.weight": torch.ones(3, 6, dtype=torch.bool)}
    so.initialize_(model, so.Masks(some), "gradinit", seed=0, data=data, iters=4)
    so.initialize_(twin, so.Masks(every), "gradinit", seed=0, data=data, iters=4)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_large_batches_are_taken_in_equal_parts_and_read_again() -> None:
    given = [(torch.arange(10.0), torch.arange(10))]
    found = endless(given, 4, "")
    assert [next(found)[1].tolist() for _ in range(4)] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 2, 3]]
    with pytest.raises(UserError, match="needs batches of data, and there are none"):
        next(endless([], 4, "here"))


def test_mistakes_are_one_sentence() -> None:
    model, data = net(torch.float32), batches(dtype=torch.float32)
    with pytest.raises(UserError, match="init.alg: unknown algorithm"):
        so.gradinit_(model, data, alg="lion")
    with pytest.raises(UserError, match="needs data"):
        so.initialize_(model, None, "gradinit", seed=0)
    with pytest.raises(UserError, match="init.base: must be another initialisation"):
        so.initialize_(model, None, "gradinit", seed=0, data=data, base="gradinit@as_released")
    with pytest.raises(UserError, match="unknown init .*did you mean 'kaiming'"):
        so.initialize_(model, None, "gradinit", seed=0, data=data, base="kaimin")
    bad = [(torch.full((5, 4), torch.nan), torch.arange(5) % 3)]
    with pytest.raises(UserError, match="not finite in iteration 1"):
        so.gradinit_(model, bad, iters=1)


# --- MetaInit


class Quadratic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(1, 4, bias=False).double()
        self.curvature = torch.tensor([[0.5], [2.0], [-1.0], [4.0]], dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.curvature * self.a.weight**2).sum() / 2


@pytest.mark.parametrize(("mask", "mean"), [([1, 1, 1, 1], 7.5 / 4), ([1, 0, 0, 1], 4.5 / 2)])
def test_of_a_quadratic_the_quotient_is_the_mean_absolute_curvature(mask: list[int], mean: float) -> None:
    function = Function(Quadratic(), lambda value, y: value)
    masks = {"a.weight": torch.tensor(mask).view(4, 1).bool()}
    theta = {"a.weight": torch.tensor([[1.0], [-2.0], [3.0], [0.5]], dtype=torch.float64) * masks["a.weight"]}
    theta = {name: value.requires_grad_() for name, value in theta.items()}
    found = gradient_quotient(function, theta, masks, (torch.zeros(1, 1), torch.zeros(1)))
    assert found.item() == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("inputs", ["gaussian", "images"])
def test_metainit_moves_norms_of_weights_alone(inputs: str) -> None:
    model, plain = net(torch.float32), net(torch.float32)
    masks = so.make_masks(model, 0.5, seed=0)
    so.initialize_(plain, masks, "kaiming", seed=0)
    data = batches(dtype=torch.float32)
    made = so.initialize_(model, masks, "metainit", seed=0, data=data, steps=3, lr=0.05, inputs=inputs, batch=16)
    assert made is not None and made.digest() == masks.digest()
    assert torch.equal(model.get_parameter("1.weight"), plain.get_parameter("1.weight"))
    for name in masks:
        ours, theirs = model.get_parameter(name).detach(), plain.get_parameter(name).detach()
        assert torch.allclose(ours / ours.norm(), theirs / theirs.norm(), atol=1e-6)
        # lr (1, 1.9, 2.71) if every sign is the same, so the norm has moved by one of the sums of these
        steps = [
            0.05 * (a + (0.9 * a + b) + (0.81 * a + 0.9 * b + c)) for a in (1, -1) for b in (1, -1) for c in (1, -1)
        ]
        assert min(abs(float(ours.norm() - theirs.norm()) - step) for step in steps) < 1e-4


def test_normalisation_by_sums_is_torchs() -> None:
    model, x = net(), batches(1)[0][0]
    function = Function(model, cross_entropy)
    theta = function.parameters()
    with function.modes():
        expected = function.outputs(theta, x)
    with function.modes(elementary=True):
        torch.testing.assert_close(function.outputs(theta, x), expected)
    assert "forward" not in vars(model[1])


def test_the_stage_hands_out_whole_batches_an_order_an_epoch() -> None:
    arrays = {"images": np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1), "labels": np.arange(40)}
    arrays |= {"train": np.arange(2, 25), "validation": np.arange(2), "test": np.arange(25, 40)}
    facts = {"shape": (1, 1, 1), "classes": 40, "mean": (0.0,), "std": (1.0,), "scale": 1.0}
    given = TrainingBatches((arrays, facts), Streams(1), 5)
    epochs = [[y.tolist() for _, y in given] for _ in range(2)]
    assert [len(epoch) for epoch in epochs] == [4, 4] and epochs[0] != epochs[1]
    for epoch in epochs:
        rows = [row for batch in epoch for row in batch]
        assert len(set(rows)) == 20 and set(rows) <= set(range(2, 25))
    assert epochs[0] == [y.tolist() for _, y in TrainingBatches((arrays, facts), Streams(1), 5)]
    x, y = given[0]
    assert torch.equal(x.view(-1).long(), y) and len(TrainingBatches((arrays, facts), Streams(1), 99)) == 1
