"""NTK-SAP is the derivative of its distance, and that distance the trace of the kernel."""

import numpy as np
import pytest
import torch
from torch import nn

import sparse_ortho as so
from sparse_ortho.masks import maskable
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose
from sparse_ortho.scores.ntk_sap import ntk_sap
from sparse_ortho.streams import Streams


def probe_of(model, shape):
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()}, None, None, shape)


def linear(*sizes):
    torch.manual_seed(0)
    parts = [nn.Linear(a, b, bias=False) for a, b in zip(sizes, sizes[1:], strict=False)]
    return nn.Sequential(*parts).double()


def draws(shapes, images, inputs):
    """The noise of round 0, from the streams that the module names."""
    S = Streams(0)
    noise = {n: S("score", f"ntk_sap/0/{n}").standard_normal(shape) for n, shape in shapes.items()}
    return S("score", "ntk_sap/0/images").standard_normal((images, inputs)), noise


def test_the_score_is_the_derivative_by_hand():
    """Two linear layers: D = X (A'^T B'^T - A^T B^T); dD^2/dm in numpy, by the product rule."""
    model = linear(5, 4, 3)
    probe = probe_of(model, (5,))
    A, B = (w.detach().numpy() for w in maskable(model).values())
    X, noise = draws(probe.shapes, 7, 5)
    eps = 0.05
    A2, B2 = A + eps * noise["0.weight"], B + eps * noise["1.weight"]
    D = X @ A.T @ B.T - X @ A2.T @ B2.T
    G = 2 * D / 7
    expected = {
        "0.weight": np.abs(A * ((G @ B).T @ X) - A2 * ((G @ B2).T @ X)),
        "1.weight": np.abs(B * (G.T @ (X @ A.T)) - B2 * (G.T @ (X @ A2.T))),
    }
    found = ntk_sap(probe, Streams(0), images=7, eps=eps)
    for name, score in expected.items():
        np.testing.assert_allclose(found[name].numpy(), score, rtol=1e-9)


def test_the_distance_is_the_trace_of_the_kernel_so_scores_are_its_slope():
    """One linear layer, whose kernel's trace is sum_j m_j^2 mean x_j^2: with many draws all scores of a column agree
    with 2 eps^2 x_j^2, whatever the weights."""
    model = linear(3, 200)
    probe, eps = probe_of(model, (3,)), 0.01
    X, _ = draws(probe.shapes, 500, 3)
    score = ntk_sap(probe, Streams(0), images=500, eps=eps)["0.weight"].mean(0).numpy()
    np.testing.assert_allclose(score, 2 * eps**2 * (X**2).mean(0), rtol=0.35)  # 200 draws of chi^2: sd 0.1


def test_rounds_see_new_noise_and_bring_nothing_back(monkeypatch):
    from sparse_ortho.scores import ntk_sap as module

    original, seen, numbers = module.ntk_sap, [], []

    def spy(probe, streams, *, rounds=1, path="exponential"):
        seen.append({n: w != 0 for n, w in probe.weights.items()})
        found = original(probe, streams, images=4)
        numbers.append(probe.memo["ntk_sap"])
        return found

    monkeypatch.setattr(module, "ntk_sap", spy)
    probe = probe_of(linear(8, 9, 4), (8,))
    options = {"rounds": 4}
    kept = choose(probe, 0.1, score="ntk_sap", layers="global", streams=Streams(0), score_options=options)
    steps = [*seen, kept]
    assert numbers == [0, 1, 2, 3]
    assert all(not (b[n] & ~a[n]).any() for a, b in zip(steps, steps[1:], strict=False) for n in kept)


def test_mistakes_are_refused():
    with pytest.raises(so.UserError, match="scores.ntk_sap"):
        ntk_sap(probe_of(linear(3, 2), (3,)), Streams(0), eps=0.0)
