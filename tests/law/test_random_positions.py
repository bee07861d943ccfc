"""Random positions: drawn by themselves they are Bernoulli, and with flow they cover every unit."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from sparse_ortho.masks import maskable, select
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose
from sparse_ortho.scores.random import random
from sparse_ortho.scores.random_flow import random_flow
from sparse_ortho.streams import Streams

S = Streams(0)


def probe_of(model, batches=None, loss=None, shape=None):
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()}, batches, loss, shape)


def drawn(model, density, layers, seed, exact=False):
    probe = probe_of(model)
    options = {"exact": exact}
    return choose(probe, density, score="random", layers=layers, streams=Streams(seed), score_options=options)


def test_weights_drawn_by_themselves_are_binomial_in_number_and_independent():
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4))
    masks = [drawn(model, 0.25, "uniform", seed) for seed in range(300)]
    for name, size in (("0.weight", 256), ("1.weight", 64)):
        hits = np.stack([m[name].numpy().ravel() for m in masks])
        counts = hits.sum(1)
        spread = counts.var(ddof=1) / (size * 0.25 * 0.75)  # 0 if counts were exact; chi2 / 299 if binomial
        assert stats.chi2(299).ppf(1e-4) / 299 < spread < stats.chi2(299).ppf(1 - 1e-4) / 299
        assert abs(counts.mean() - size / 4) < 4 * (size * 0.25 * 0.75 / 300) ** 0.5
        statistic = ((hits.sum(0) - 75) ** 2 / (300 * 0.25 * 0.75)).sum()
        assert 1e-4 < stats.chi2(size).cdf(statistic) < 1 - 1e-4


def test_weights_drawn_by_themselves_have_the_density_of_their_layer_and_more_hold_fewer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 200), nn.Linear(200, 10))
    few, many = (drawn(model, density, "erk", 0) for density in (0.05, 0.2))
    exact = drawn(model, 0.05, "erk", 0, exact=True)
    for name in few:
        count, size = int(exact[name].sum()), exact[name].numel()
        assert abs(int(few[name].sum()) - count) < 4 * (count * (1 - count / size)) ** 0.5 + 1e-9
        assert not (few[name] & ~many[name]).any()
    assert sum(int(m.sum()) for m in few.values()) != sum(int(m.sum()) for m in exact.values())
    assert all(m.all() for m in drawn(model, 1.0, "global", 0).values())


@pytest.mark.parametrize("shape", [(20, 7), (7, 20), (9, 9), (12, 5, 3, 3), (5, 12, 3, 3), (8, 1, 3, 3)])
def test_random_flow_covers_every_unit_from_the_fewest_weights_on(shape):
    score = random_flow(Probe(nn.Identity(), {"w": torch.empty(shape, device="meta")}), S)
    rows, columns = shape[:2]
    for count in (max(rows, columns), max(rows, columns) + 11):
        units = select(score, {"w": count})["w"].view(rows, columns, -1).any(2)
        assert units.any(0).all() and units.any(1).all()
    fewer = select(score, {"w": max(rows, columns) - 2})["w"].view(rows, columns, -1).any(2)
    assert int(fewer.any(1 if rows >= columns else 0).sum()) == max(rows, columns) - 2


def test_random_flow_prefers_no_weight():
    shape = {"w": torch.empty((4, 6), device="meta")}
    for count in (4, 10):
        masks = [select(random_flow(Probe(nn.Identity(), shape), Streams(s)), count)["w"] for s in range(400)]
        hits, p = torch.stack(masks).sum(0).flatten().numpy(), count / 24
        assert (abs(hits - 400 * p) < 4.5 * (400 * p * (1 - p)) ** 0.5).all()
    assert not torch.equal(masks[0], select(random(Probe(nn.Identity(), shape), Streams(0)), 10)["w"])
