"""SNIP, GraSP and SynFlow are the published formulas; iteration and "ratio only" meet their counts exactly."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, nll_loss

import sparse_ortho as so
from sparse_ortho.budgets import budget
from sparse_ortho.masks import maskable, select
from sparse_ortho.models.mlp import mlp
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose, make_masks
from sparse_ortho.scores import synflow as synflow_module
from sparse_ortho.scores.force import force
from sparse_ortho.scores.grasp import grasp
from sparse_ortho.scores.random import random
from sparse_ortho.scores.snip import snip
from sparse_ortho.scores.synflow import synflow
from sparse_ortho.scores.taylor import taylor
from sparse_ortho.streams import Streams

S = Streams(0)


def probe_of(model, batches=None, loss=None, shape=None):
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()}, batches, loss, shape)


def batches_of(features=5, classes=3, sizes=(8, 8), dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, features, generator=generator, dtype=dtype), torch.arange(n).roll(i) % classes)
        for i, n in enumerate(sizes)
    ]


def linear(*sizes, bias=False, between=nn.Identity):
    torch.manual_seed(0)
    parts = [part for a, b in zip(sizes, sizes[1:], strict=False) for part in (nn.Linear(a, b, bias=bias), between())]
    return nn.Sequential(*parts[:-1]).double()


class Noise(nn.Module):
    """Draws in every mode."""

    def forward(self, x):
        return x * (1 + 0.1 * torch.rand_like(x))


def full(noise=False):
    """Everything that can be disturbed: stored statistics, noise, modes that differ, a frozen bias, a gradient."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5)),
        *(nn.Linear(8, 8), nn.GroupNorm(2, 8), nn.RReLU(), nn.Linear(8, 3)),
        *([Noise()] if noise else []),
    ).double()
    model(batches_of()[0][0]).sum().backward()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    return model


def everything(model):
    state = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    grads = {
        n: (p.requires_grad, None if p.grad is None else p.grad.numpy().tobytes()) for n, p in model.named_parameters()
    }
    hooks = [len(m._forward_hooks) for m in model.modules()]
    return state, grads, hooks, [(id(m), m.training) for m in model.modules()], repr(model)


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


class TwoLayers:
    """Logits X A^T B^T under cross-entropy at a temperature: gradient, and Hessian times (U, V), by hand."""

    def __init__(self, A, B, X, y, T=1.0):
        self.A, self.B, self.X, self.T = A, B, X, T
        self.P = softmax(X @ A.T @ B.T / T)
        self.D = (self.P - np.eye(len(B))[y]) / (len(X) * T)  # dL / dlogits

    def gradient(self):
        return (self.D @ self.B).T @ self.X, self.D.T @ (self.X @ self.A.T)

    def hessian_times(self, U, V):
        hidden, moved = self.X @ self.A.T, self.X @ U.T
        logits = (moved @ self.B.T + hidden @ V.T) / self.T
        D = self.P * (logits - (self.P * logits).sum(1, keepdims=True)) / (len(self.X) * self.T)
        return (D @ self.B + self.D @ V).T @ self.X, D.T @ hidden + self.D.T @ moved


def by_hand(model, batches, T=1.0):
    A, B = (w.detach().numpy() for w in maskable(model).values())
    return A, B, [TwoLayers(A, B, x.numpy(), y.numpy(), T) for x, y in batches]


def test_snip_of_a_linear_net_is_the_closed_form():
    model, batches = linear(5, 4, 3), batches_of()
    A, B, parts = by_hand(model, batches)
    gA, gB = (sum(g) / 2 for g in zip(*(part.gradient() for part in parts), strict=True))
    found = snip(probe_of(model, batches), S)
    np.testing.assert_allclose(found["0.weight"], np.abs(A * gA), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found["2.weight"], np.abs(B * gB), rtol=1e-10, atol=1e-14)


def test_snip_looks_at_the_current_mask():
    model, batches = linear(5, 4, 3), batches_of(sizes=(8,))
    kept = {
        n: torch.rand(w.shape, generator=torch.Generator().manual_seed(2)) < 0.5 for n, w in maskable(model).items()
    }
    pruned = copy.deepcopy(model)
    so.Masks(kept).apply_(pruned)
    A, B, (part,) = by_hand(pruned, batches)
    weights = {n: w.detach() * kept[n] for n, w in maskable(model).items()}
    found = snip(Probe(model, weights, batches), S)
    np.testing.assert_allclose(found["0.weight"], np.abs(A * part.gradient()[0]), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found["2.weight"], np.abs(B * part.gradient()[1]), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("T", [200.0, 1.0])
def test_grasp_of_a_linear_net_is_the_closed_form(T):
    model, batches = linear(5, 4, 3), batches_of()
    A, B, parts = by_hand(model, batches, T)
    g = [sum(each) for each in zip(*(part.gradient() for part in parts), strict=True)]
    HA, HB = (sum(h) for h in zip(*(part.hessian_times(*g) for part in parts), strict=True))
    found = grasp(probe_of(model, batches), S, temperature=T)
    np.testing.assert_allclose(found["0.weight"], A * HA, rtol=1e-9, atol=1e-18)
    np.testing.assert_allclose(found["2.weight"], B * HB, rtol=1e-9, atol=1e-18)


def gradient_norm(model, batches, kept=None):
    """||g|| over the weights that remain, of a copy whose other weights are 0."""
    model = copy.deepcopy(model)
    masks = so.Masks(kept or {n: torch.ones_like(w, dtype=torch.bool) for n, w in maskable(model).items()})
    masks.apply_(model)
    sum(cross_entropy(model(x), y) for x, y in batches).backward()
    return sum((w.grad[masks[n]] ** 2).sum().item() for n, w in maskable(model).items()) ** 0.5


def test_grasp_is_half_the_slope_of_the_squared_gradient_norm():
    model, batches = linear(5, 4, 3, between=nn.Tanh), batches_of(sizes=(8,))
    found = grasp(probe_of(model, batches), S, temperature=1.0)
    for name, index in [("0.weight", (1, 2)), ("0.weight", (3, 0)), ("2.weight", (2, 1)), ("2.weight", (0, 3))]:
        squares = []
        for step in (1e-5, -1e-5):
            moved = copy.deepcopy(model)
            with torch.no_grad():
                maskable(moved)[name][index] *= 1 + step
            squares.append(gradient_norm(moved, batches) ** 2 / 2)
        assert found[name][index].item() == pytest.approx((squares[0] - squares[1]) / 2e-5, rel=1e-5)


@pytest.mark.parametrize("density", [0.1, 0.3, 0.6])
def test_grasp_keeps_more_gradient_than_the_reversed_rule_and_than_chance(density):
    torch.manual_seed(0)
    model = linear(20, 30, 30, 30, 4, between=nn.Tanh)
    batches = batches_of(20, 4, (32, 32))
    scores = grasp(probe_of(model, batches), S)
    count = budget(density, 20 * 30 + 2 * 900 + 120)
    published = gradient_norm(model, batches, select(scores, count))
    reverse = gradient_norm(model, batches, select({n: -s for n, s in scores.items()}, count))
    chance = gradient_norm(model, batches, select(random(probe_of(model), S), count))
    assert published > 2 * reverse and published > chance


def test_synflow_of_a_linear_net_is_the_closed_form():
    model = linear(5, 4, 3, bias=True)
    A, b, B = (np.abs(p.detach().numpy()) for p in list(model.parameters())[:3])
    found = synflow(probe_of(model, shape=(5,)), S)
    np.testing.assert_allclose(found["0.weight"], A * B.sum(0)[:, None], rtol=1e-12)
    np.testing.assert_allclose(found["2.weight"], B * (A.sum(1) + b), rtol=1e-12)


def test_synflow_uses_the_absolute_stored_statistics_of_batch_norm():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()
    for tensor in (model[1].weight, model[1].bias, model[1].running_mean):
        nn.init.normal_(tensor, std=0.1)
    nn.init.uniform_(model[1].running_var, 1, 2)
    A, b, gamma, beta, B, _ = (p.detach().abs().numpy() for p in model.parameters())
    mean, var = np.abs(model[1].running_mean.numpy()), model[1].running_var.numpy()
    gain = gamma / np.sqrt(var + model[1].eps)
    found = synflow(probe_of(model, shape=(5,)), S)
    np.testing.assert_allclose(found["0.weight"], A * (gain * B.sum(0))[:, None], rtol=1e-12)
    np.testing.assert_allclose(found["3.weight"], B * np.abs((A.sum(1) + b - mean) * gain + beta), rtol=1e-12)


def test_synflow_is_conserved_at_every_hidden_unit_and_layer_of_a_piecewise_linear_net():
    model = linear(6, 7, 8, 5, 3, between=nn.ReLU)
    scores = list(synflow(probe_of(model, shape=(6,)), S).values())
    for before, after in zip(scores, scores[1:], strict=False):
        torch.testing.assert_close(before.sum(1), after.sum(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.stack([s.sum() for s in scores]), scores[0].sum().expand(4), rtol=1e-12, atol=0)


def test_synflow_is_conserved_at_every_channel_of_a_convolution():
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3, bias=False), nn.Tanh()]
    model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(4, 2, bias=False))
    first, second, last = synflow(probe_of(model, shape=(3, 8, 8)), S).values()
    assert first.dtype == torch.float64
    torch.testing.assert_close(first.sum((1, 2, 3)), second.sum((0, 2, 3)), rtol=1e-12, atol=0)
    torch.testing.assert_close(second.sum((1, 2, 3)), last.view(2, 4, 1).sum((0, 2)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("last", [nn.LogSoftmax(dim=1), nn.Softmax(dim=1), nn.Identity()])
@pytest.mark.parametrize("between", [nn.Tanh, nn.Hardtanh, nn.Sigmoid, lambda: nn.LayerNorm(8)])
def test_synflow_sees_logits_and_no_activation(between, last):
    plain, model = linear(5, 8, 8, 3), linear(5, 8, 8, 3, between=between)
    found = synflow(probe_of(nn.Sequential(model, last), shape=(5,)), S)
    for expected, score in zip(synflow(probe_of(plain, shape=(5,)), S).values(), found.values(), strict=True):
        assert torch.equal(expected, score)


@pytest.mark.parametrize("activation", ["tanh", "hard_tanh"])
def test_synflow_empties_no_layer_of_a_deep_net(activation):
    torch.manual_seed(0)
    model = mlp((28, 28), 10, activation=activation)
    kept = choose(probe_of(model, shape=(28, 28)), 0.05, score="synflow", layers="global", streams=S)
    counts = [int(mask.count_nonzero()) for mask in kept.values()]
    assert sum(counts) == budget(0.05, 78_400 + 50_000 + 1_000) and min(counts) >= 100


def test_synflow_beyond_float64_is_the_flow_up_to_one_factor(monkeypatch):
    probe = probe_of(linear(5, 8, 8, 8, 3, between=nn.Tanh), shape=(5,))
    exact = synflow(probe, S)
    monkeypatch.setattr(synflow_module, "SMALLEST", float("inf"))
    factors = torch.cat([(s / exact[n]).flatten() for n, s in synflow(probe, S).items()])
    torch.testing.assert_close(factors, factors[:1].expand_as(factors), rtol=1e-12, atol=0)
    monkeypatch.undo()
    torch.manual_seed(0)
    deep = mlp((10,), 3, depth=2000, width=10)
    for name, parameter in deep.named_parameters():
        nn.init.zeros_(parameter) if "bias" in name else nn.init.uniform_(parameter, -1, 1)  # flow of 5^2000
    scores = synflow(probe_of(deep, shape=(10,)), S)
    assert all(s.isfinite().all() and (s > 0).all() for s in scores.values())
    nn.init.ones_(deep.get_parameter("layers.7.bias"))
    with pytest.raises(so.UserError, match="leaves float64"):
        synflow(probe_of(deep, shape=(10,)), S)


def test_snip_reads_cross_entropy_on_logits_unless_given_a_loss():
    model, batches = linear(5, 4, 3), batches_of()
    default = snip(probe_of(model, batches), S)
    same, other = (snip(probe_of(model, batches, loss), S) for loss in (cross_entropy, nll_loss))
    assert all(torch.equal(default[n], same[n]) for n in default)
    assert not any(torch.allclose(default[n], other[n], rtol=0.1) for n in default)


def test_gradient_scores_use_the_statistics_of_the_batch_and_no_dropout():
    model, batches = full(), batches_of(sizes=(8,))
    twin = copy.deepcopy(model).train()
    twin.zero_grad()
    twin[3], twin[6] = nn.Identity(), twin[6].eval()
    cross_entropy(twin(batches[0][0]), batches[0][1]).backward()
    found = snip(probe_of(model, batches), S)
    for name, weight in maskable(twin).items():
        torch.testing.assert_close(found[name], (weight * weight.grad).abs().detach(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("score", "rtol"), [(snip, 1e-12), (grasp, 1e-9)])
def test_double_scores_a_float32_net_as_the_same_net_in_float64(score, rtol):
    torch.manual_seed(0)
    parts = [nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8), nn.GroupNorm(2, 8), nn.Linear(8, 3)]
    model, batches = nn.Sequential(*parts), batches_of(dtype=torch.float32)
    before, state = everything(model), torch.get_rng_state()
    found = score(probe_of(model, batches), S, double=True)
    assert everything(model) == before and torch.equal(torch.get_rng_state(), state)
    single = score(probe_of(model, batches), S)
    expected = score(probe_of(copy.deepcopy(model).double(), [(x.double(), y) for x, y in batches]), S)
    for name, exact in expected.items():
        assert found[name].dtype == torch.float64 and single[name].dtype == torch.float32
        torch.testing.assert_close(found[name], exact, rtol=rtol, atol=0)
        assert not torch.allclose(single[name].double(), exact, rtol=rtol, atol=0)


def test_double_scores_of_a_linear_net_are_the_closed_form_where_float32_has_left_its_range():
    model, batches = linear(5, 4, 3).float(), batches_of(sizes=(8,), dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1e-22)  # theta * H g is about 1e-44 / 200^2, and float32 ends at 1.4e-45
    wide = [(x.double(), y) for x, y in batches]
    A, B, (part,) = by_hand(copy.deepcopy(model).double(), wide, 200.0)
    HA, HB = part.hessian_times(*part.gradient())
    found = grasp(probe_of(model, batches), S, double=True)
    np.testing.assert_allclose(found["0.weight"], A * HA, rtol=1e-9)
    np.testing.assert_allclose(found["2.weight"], B * HB, rtol=1e-9)
    assert not any(score.any() for score in grasp(probe_of(model, batches), S).values())
    options = {"score_options": {"double": True}}
    kept = choose(probe_of(model, batches), 0.5, score="grasp", layers="global", streams=S, **options)
    exact = np.concatenate([(A * HA).ravel(), (B * HB).ravel()])
    mask = torch.cat([kept["0.weight"].flatten(), kept["2.weight"].flatten()]).numpy()
    assert exact[mask].min() > exact[~mask].max() and mask.sum() == 16


SCORES = [("snip", snip), ("grasp", grasp), ("synflow", synflow), ("force", force), ("taylor", taylor)]


@pytest.mark.parametrize(("name", "score"), SCORES)
def test_scoring_leaves_model_buffers_flags_and_generator_byte_identical(name, score):
    model = full(noise=True)
    before, state = everything(model), torch.get_rng_state()
    first = score(probe_of(model, batches_of()), S)
    choose(probe_of(model, batches_of()), 0.3, score=name, layers="global", streams=S)
    assert everything(model) == before and torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        again = score(probe_of(model.eval(), batches_of()), S)
    assert all(torch.equal(first[n], again[n]) and not first[n].requires_grad for n in first)


@pytest.mark.parametrize(("name", "score"), SCORES)
def test_a_pass_that_fails_leaves_the_model_as_it_was(name, score):
    model = full()
    before, state = everything(model), torch.get_rng_state()
    wrong = [(torch.zeros(4, 7, dtype=torch.float64), torch.zeros(4, dtype=torch.int64))]
    with pytest.raises(RuntimeError):
        score(probe_of(model, wrong), S)
    assert everything(model) == before and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("name", "score"), SCORES)
def test_wrappers_and_tied_weights_change_no_score(name, score):
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return self.module(x)

    model = linear(5, 4, 4, 4, 3, between=nn.Tanh)
    model[4].weight = model[2].weight
    plain, wrapped = (score(probe_of(m, batches_of(dtype=torch.float32)), S) for m in (model, Wrapper(model)))
    assert list(plain) == list(wrapped) == ["0.weight", "2.weight", "6.weight"]
    assert all(torch.equal(plain[n], wrapped[n]) for n in plain)


@pytest.mark.parametrize("layers", ["global", "erk", "snip"])
def test_iterated_pruning_follows_the_path_never_brings_a_weight_back_and_ends_exactly(layers, monkeypatch):
    seen = []

    def spy(probe, streams, *, rounds=100):
        seen.append({n: w != 0 for n, w in probe.weights.items()})
        return synflow(probe, streams)

    monkeypatch.setattr(synflow_module, "synflow", spy)
    model, batches = linear(20, 30, 30, 4, between=nn.Tanh), batches_of(20, 4)
    kept = choose(
        probe_of(model, batches), 0.05, score="synflow", layers=layers, streams=S, score_options={"rounds": 20}
    )
    size, steps = 600 + 900 + 120, [*seen, kept]
    assert len(seen) == 20 and sum(int(m.count_nonzero()) for m in kept.values()) == 81
    for r, (before, after) in enumerate(zip(steps, steps[1:], strict=False), 1):
        assert not any((after[n] & ~before[n]).any() for n in kept)
        count = sum(int(m.count_nonzero()) for m in after.values())
        if layers == "global":
            assert count == int(size * 0.05 ** (r / 20) + 0.5)
        assert abs(count - size * 0.05 ** (r / 20)) < (2 if layers == "global" else size)


def test_one_round_is_the_selection_of_the_score():
    probe = probe_of(linear(20, 30, 30, 4), shape=(20,))
    kept = choose(probe, 0.2, score="synflow", layers="global", streams=S, score_options={"rounds": 1})
    expected = select(synflow(probe, S), budget(0.2, 1620))
    assert all(torch.equal(kept[n], expected[n]) for n in kept)


def test_what_is_pruned_stays_so_when_all_scores_tie(monkeypatch):
    flat = lambda probe, streams, *, rounds=5: {n: torch.zeros_like(w) for n, w in probe.weights.items()}  # noqa: E731
    monkeypatch.setattr(synflow_module, "synflow", flat)
    kept = choose(probe_of(linear(4, 4, 4)), 0.25, score="synflow", layers="global", streams=S)
    assert kept["0.weight"].flatten().tolist() == [True] * 8 + [False] * 8 and not kept["2.weight"].any()


@pytest.mark.parametrize("layers", ["snip", "grasp", "synflow", "magnitude"])
def test_ratio_only_has_the_layer_counts_of_the_direct_mask_and_positions_of_its_own(layers):
    model, batches = linear(20, 30, 30, 4, between=nn.Tanh), batches_of(20, 4)
    direct = make_masks(model, 0.1, score=layers, layers="global", seed=3, data=batches)
    ratio = make_masks(model, 0.1, score="random", layers=layers, seed=3, data=batches)
    counts = {n: int(m.count_nonzero()) for n, m in direct.items()}
    expected = select(random(probe_of(model), Streams(3)), counts)
    assert all(torch.equal(ratio[n], expected[n]) for n in ratio)
    assert sum(counts.values()) == 162 and ratio.digest() != direct.digest()


def test_ratio_only_hands_the_layer_options_to_the_score_of_the_layers():
    probe = probe_of(linear(20, 30, 30, 4, between=nn.Tanh), shape=(20,))
    few, many = (
        choose(probe, 0.1, score="random", layers="synflow", streams=S, layer_options={"rounds": rounds})
        for rounds in (1, 50)
    )
    assert [int(m.sum()) for m in few.values()] != [int(m.sum()) for m in many.values()]


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ({"score": "snip"}, {}, r"scores\.snip: needs data"),
        ({"score": "random", "layers": "grasp"}, {}, r"scores\.grasp: needs data"),
        ({"score": "snip", "data": []}, {}, r"data: holds no batch"),
        ({"score": "synflow"}, {}, r"scores\.synflow: needs the shape"),
        ({"score": "synflow"}, {"rounds": 0}, r"scores\.synflow\.rounds: .*at least 1.*0"),
        ({"score": "grasp", "data": batches_of()}, {"temperature": 0.0}, r"scores\.grasp\.temperature: .*above 0"),
        ({"score": "random", "layers": "snop"}, {}, r"unknown density scheme.*did you mean 'snip'"),
    ],
)
def test_mistakes_are_refused_in_one_sentence(arguments, options, sentence):
    arguments = {"layers": "global", "data": None, **arguments}
    probe = probe_of(linear(5, 4, 3), arguments.pop("data"))
    with pytest.raises(so.UserError, match=sentence):
        choose(probe, 0.5, streams=S, score_options=options, **arguments)
