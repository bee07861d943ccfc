"""Taylor scores and the scores of released programs are their formulas, in closed form on linear networks."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sparse_ortho.budgets import budget
from sparse_ortho.masks import maskable, select
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose
from sparse_ortho.scores.grasp import grasp, grasp_as_released
from sparse_ortho.scores.snip import snip, snip_as_released
from sparse_ortho.scores.synflow import synflow, synflow_as_released
from sparse_ortho.scores.taylor import taylor
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


def gradients(A, B, X, y):
    """Of the mean cross-entropy of logits X A^T B^T, by hand."""
    logits = X @ A.T @ B.T
    e = np.exp(logits - logits.max(1, keepdims=True))
    D = (e / e.sum(1, keepdims=True) - np.eye(len(B))[y]) / len(X)
    return (D @ B).T @ X, D.T @ (X @ A.T)


def test_taylor_is_the_mean_square_over_interleaved_minibatches():
    model, batches = linear(6, 4, 3), batches_of(sizes=(50,))
    A, B = (w.detach().numpy() for w in maskable(model).values())
    X, y = (part.numpy() for part in batches[0])
    parts = [gradients(A, B, X[i::3], y[i::3]) for i in range(3)]  # 17, 17 and 16 examples
    before = taylor(probe_of(model, batches), S, minibatch=16)
    after = taylor(probe_of(model, batches), S, minibatch=16, squares="after")
    for i, (name, w) in enumerate((("0.weight", A), ("2.weight", B))):
        np.testing.assert_allclose(before[name], np.mean([(w * g[i]) ** 2 for g in parts], axis=0), rtol=1e-10)
        np.testing.assert_allclose(after[name], np.mean([w * g[i] for g in parts], axis=0) ** 2, rtol=1e-10)


def test_taylor_squared_after_the_mean_ranks_as_snip():
    probe = probe_of(linear(6, 12, 3), batches_of(sizes=(16, 16)))
    expected = select(snip(probe, S), 20)
    kept = select(taylor(probe, S, squares="after"), 20)
    assert all(torch.equal(kept[n], expected[n]) for n in kept)


def test_taylor_holds_squares_below_the_range_of_float32():
    model = linear(6, 4, 3).float()
    with torch.no_grad():
        model.get_parameter("2.weight").mul_(1e-12)  # gradients of the first layer of about 1e-13, squares of 1e-28 w^2
        model.get_parameter("0.weight").mul_(1e-12)
    batches = [(x.float(), y) for x, y in batches_of()]
    assert all((score > 0).all() for score in taylor(probe_of(model, batches), S).values())


def test_released_grasp_keeps_what_the_paper_removes():
    probe = probe_of(linear(6, 12, 3, between=nn.Tanh), batches_of())
    scores, released = grasp(probe, S), grasp_as_released(probe, S)
    assert all(torch.equal(released[n], -scores[n]) for n in scores)
    flat = torch.cat([s.flatten() for s in scores.values()])
    kept = torch.cat([m.flatten() for m in select(released, 10).values()])
    assert flat[kept].max() < flat[~kept].min()


def test_released_snip_descends_the_logit_of_the_true_class():
    model, batches = linear(6, 4, 3), batches_of()
    A, B = (w.detach().numpy() for w in maskable(model).values())
    X, y = (part.numpy() for part in batches[0])
    D = -np.eye(3)[y] / len(X)
    found = snip_as_released(probe_of(model, batches, cross_entropy), S)
    np.testing.assert_allclose(found["0.weight"], np.abs(A * ((D @ B).T @ X)), rtol=1e-10, atol=1e-16)
    np.testing.assert_allclose(found["2.weight"], np.abs(B * (D.T @ (X @ A.T))), rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("logs", [True, False])
def test_released_synflow_is_the_flow_of_log_probabilities_through_the_activations(logs):
    model = linear(5, 4, 3, between=nn.Tanh)
    A, B = (np.abs(w.detach().numpy()) for w in maskable(model).values())
    hidden = np.tanh(A.sum(1))
    e = np.exp(B @ hidden)
    slope = 1 - 3 * e / e.sum() if logs else np.ones(3)  # dR / dlogits
    found = synflow_as_released(probe_of(model, shape=(5,)), S, log_softmax=logs)
    np.testing.assert_allclose(found["0.weight"], np.abs(A * ((slope @ B) * (1 - hidden**2))[:, None]), rtol=1e-9)
    np.testing.assert_allclose(found["2.weight"], np.abs(B * slope[:, None] * hidden), rtol=1e-9)


def test_released_synflow_of_a_saturated_net_ties_everywhere_and_keeps_exactly_k():
    model = linear(40, 40, 40, 5, between=nn.Hardtanh)
    with torch.no_grad():
        for weight in model.parameters():
            weight.abs_().add_(0.1)
    probe = probe_of(model, shape=(40,))
    first, *_, last = synflow_as_released(probe, S).values()
    assert not first.any() and last.dtype == torch.float64  # 40 * 0.1 is past 1 at every hidden unit
    kept = choose(probe, 0.1, score="synflow@as_released", layers="global", streams=S)
    assert sum(int(m.sum()) for m in kept.values()) == budget(0.1, 1600 + 1600 + 200)
    assert all(score.all() for score in synflow(probe, S).values())
