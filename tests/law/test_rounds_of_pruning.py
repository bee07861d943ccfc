"""Iterated scores follow their path and the loop of their paper, and every score keeps the budget on real networks."""

import importlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import sparse_ortho as so
from sparse_ortho.budgets import budget
from sparse_ortho.masks import maskable
from sparse_ortho.models.lenet import lenet300_100
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose
from sparse_ortho.registry import available, load
from sparse_ortho.scores.force import force
from sparse_ortho.scores.snip import snip
from sparse_ortho.scores.synflow import synflow_as_released
from sparse_ortho.signatures import options_of
from sparse_ortho.streams import Streams

S = Streams(0)


def probe_of(model, batches=None, loss=None, shape=None):
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()}, batches, loss, shape)


def batches_of(features=6, classes=3, sizes=(24,)):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, features, generator=generator, dtype=torch.float64), torch.arange(n) % classes) for n in sizes
    ]


def linear(*sizes, between=nn.Identity):
    torch.manual_seed(0)
    parts = [part for a, b in zip(sizes, sizes[1:], strict=False) for part in (nn.Linear(a, b, bias=False), between())]
    return nn.Sequential(*parts[:-1]).double()


def narrow_vgg16(divisor):
    """13 convolutions with BatchNorm and a linear head; widths a part of 64 to 512."""
    torch.manual_seed(0)
    parts, before = [], 3
    for width, times in zip((64, 128, 256, 512, 512), (2, 2, 3, 3, 3), strict=True):
        for _ in range(times):
            after = width // divisor
            parts += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            before = after
        parts.append(nn.MaxPool2d(2))
    model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(before, 10))
    for weight in maskable(model).values():
        nn.init.kaiming_normal_(weight)
    return model


def gradients(A, B, X, y):
    """Of the mean cross-entropy of logits X A^T B^T, by hand."""
    logits = X @ A.T @ B.T
    e = np.exp(logits - logits.max(1, keepdims=True))
    D = (e / e.sum(1, keepdims=True) - np.eye(len(B))[y]) / len(X)
    return (D @ B).T @ X, D.T @ (X @ A.T)


def pruned_by_hand(A, B, X, y, density, rounds, *, returns):
    """The loop of de Jorge et al. in numpy: the masks after every round, flat."""
    flat, masks = np.concatenate([A.ravel(), B.ravel()]), []
    mask = np.ones(len(flat), dtype=bool)
    for r in range(1, rounds + 1):
        w = flat * mask
        g = np.concatenate(
            [g.ravel() for g in gradients(w[: A.size].reshape(A.shape), w[A.size :].reshape(B.shape), X, y)]
        )
        score = np.abs((flat if returns else w) * g)
        if not returns:
            score[~mask] = -1.0
        count = int(len(flat) * density ** (r / rounds) + 0.5)
        mask = np.zeros(len(flat), dtype=bool)
        mask[np.argsort(-score, kind="stable")[:count]] = True
        masks.append(mask)
    return masks


@pytest.mark.parametrize(("name", "returns"), [("snip", False), ("force", True)])
def test_iterated_snip_and_force_are_the_published_loops(name, returns):
    model, batches = linear(6, 12, 3), batches_of()
    A, B = (w.detach().numpy() for w in maskable(model).values())
    steps = pruned_by_hand(A, B, batches[0][0].numpy(), batches[0][1].numpy(), 0.25, 8, returns=returns)
    back = sum(int((after & ~before).sum()) for before, after in zip(steps, steps[1:], strict=False))
    assert (back > 0) == returns  # the example shows the difference
    kept = choose(probe_of(model, batches), 0.25, score=name, layers="global", streams=S, score_options={"rounds": 8})
    assert torch.cat([m.flatten() for m in kept.values()]).tolist() == steps[-1].tolist()


PATHS = {  # counts of 1000 weights after each of four rounds to 100: 1000 f(t), t = 1/4 ... 1
    "linear": [775, 550, 325, 100],
    "exponential": [562, 316, 178, 100],
    "cosine": [868, 550, 232, 100],  # 100 + 450 (1 + cos(pi t))
    "cubic": [480, 213, 114, 100],  # 100 + 900 (1 - t)^3: 479.7, 212.5, 114.06
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["snip", "grasp", "taylor", "synflow", "synflow@as_released", "force"])
def test_rounds_follow_the_path_and_nothing_comes_back_but_in_force(name, path, monkeypatch):
    module = importlib.import_module(f"sparse_ortho.scores.{name.partition('@')[0]}")
    attribute = name.replace("@", "_")
    score, seen = getattr(module, attribute), []

    def spy(probe, streams, *, rounds=1, path="exponential"):
        seen.append({n: w != 0 for n, w in probe.weights.items()})
        return score(probe, streams)

    monkeypatch.setattr(module, attribute, spy)
    model, batches = linear(20, 40, 5, between=nn.Tanh), batches_of(20, 5, (20,))
    options = {"rounds": 4, "path": path}
    kept = choose(probe_of(model, batches), 0.1, score=name, layers="global", streams=S, score_options=options)
    steps = [torch.cat([m.flatten() for m in step.values()]) for step in [*seen, kept]]
    assert [int(step.sum()) for step in steps] == [1000, *PATHS[path]]
    returned = sum(int((after & ~before).sum()) for before, after in zip(steps, steps[1:], strict=False))
    assert returned == 0 or name == "force"


def test_unknown_paths_and_rounds_are_refused():
    probe = probe_of(linear(6, 4, 3), batches_of())
    for options, sentence in [
        ({"path": "cubc"}, r"scores\.snip\.path: .*did you mean 'cubic'"),
        ({"rounds": 0}, "rounds"),
    ]:
        with pytest.raises(so.UserError, match=sentence):
            choose(probe, 0.5, score="snip", layers="global", streams=S, score_options=options)


def test_a_whole_round_of_force_is_snip():
    probe = probe_of(linear(6, 12, 3), batches_of(sizes=(8, 8)))
    assert all(torch.equal(a, b) for a, b in zip(force(probe, S).values(), snip(probe, S).values(), strict=True))


def test_synflow_of_a_resnet56_leaves_float32_and_not_float64():
    torch.manual_seed(0)
    model = cifar_resnet((3, 8, 8), 10, depth=56)
    for weight in maskable(model).values():
        nn.init.kaiming_normal_(weight)
    probe = probe_of(model, shape=(3, 8, 8))
    single = synflow_as_released(probe, S, log_softmax=False)
    assert not all(score.isfinite().all() for score in single.values())
    kept = choose(probe, 0.01, score="synflow", layers="global", streams=S, score_options={"rounds": 10})
    counts = [int(m.sum()) for m in kept.values()]
    assert sum(counts) == budget(0.01, 851_504) and min(counts) > 0


def test_synflow_at_one_in_a_thousand_leaves_no_layer_of_a_vgg16_empty_while_magnitude_does():
    probe = probe_of(narrow_vgg16(8), shape=(3, 32, 32))
    counts = {
        score: [int(m.sum()) for m in choose(probe, 0.001, layers="global", streams=S, **how).values()]
        for score, how in (
            ("synflow", {"score": "synflow", "score_options": {"rounds": 25}}),  # a quarter of the paper's, for time
            ("magnitude", {"score": "magnitude"}),
        )
    }
    size = sum(w.numel() for w in probe.weights.values())
    assert all(sum(kept) == budget(0.001, size) for kept in counts.values())
    assert min(counts["synflow"]) > 0 and counts["magnitude"].count(0) > 3


NETS = {
    "lenet300_100": (lambda: lenet300_100((1, 8, 8), 10), (1, 8, 8)),
    "resnet": (lambda: cifar_resnet((3, 8, 8), 10, depth=8, width=4), (3, 8, 8)),
    "vgg_bn": (lambda: narrow_vgg16(16), (3, 32, 32)),
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("score", available()["scores"])
def test_every_score_keeps_exactly_the_budget_and_leaves_the_model(score, net):
    build, shape = NETS[net]
    torch.manual_seed(0)
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(2)
    batches = [(torch.randn(10, *shape, generator=generator), torch.arange(10))]
    size = sum(w.numel() for w in maskable(model).values())
    few = {"rounds": 3} if options_of(load("scores", score)).get("rounds", 1) > 3 else {}
    for layers, density in (*(("global", density) for density in (1, 0.5, 0.1, 0.05, 0.01, 0.001)), ("erk", 0.05)):
        kept = choose(
            probe_of(model, batches, cross_entropy, shape), density, score=score, layers=layers, streams=S,
            score_options=few,
        )  # fmt: skip
        assert sum(int(m.sum()) for m in kept.values()) == budget(density, size)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
