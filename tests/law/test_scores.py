"""Random scores are independent of everything but seed and name; pruning meets every budget exactly."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import sparse_ortho as so
from sparse_ortho.masks import maskable
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose, make_masks
from sparse_ortho.scores.magnitude import magnitude
from sparse_ortho.scores.random import random
from sparse_ortho.streams import Streams


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 4))


def test_random_scores_need_shapes_only_and_no_order():
    model = net()
    weights = {n: w.detach() for n, w in maskable(model).items()}
    meta = {n: torch.empty(w.shape, device="meta") for n, w in reversed(weights.items())}
    real = random(Probe(model, weights), Streams(3))
    shapes_only = random(Probe(model, meta), Streams(3))
    assert all(torch.equal(real[n], shapes_only[n]) for n in real)
    assert not torch.equal(real["0.weight"], random(Probe(model, weights), Streams(4))["0.weight"])


def test_layers_of_one_shape_get_masks_of_their_own():
    masks = make_masks(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), 0.5, layers="uniform", seed=0)
    assert not torch.equal(masks["0.weight"], masks["1.weight"])


def test_random_masks_are_uniform_over_positions():
    model = nn.Linear(8, 8)
    hits = torch.stack([make_masks(model, 0.25, seed=seed)["weight"] for seed in range(400)]).sum(0).flatten().numpy()
    # each position is hit Binomial(400, 1/4) times; positions of one mask are slightly anticorrelated (factor 64/63)
    statistic = ((hits - 100) ** 2 / 75).sum() * 63 / 64
    assert 1e-3 < stats.chi2(63).cdf(statistic) < 1 - 1e-3


def test_magnitude_of_eight_weights():
    weight = torch.tensor([[-3.0, 1.0, -4.0, 1.0], [5.0, -9.0, 2.0, -6.0]])
    probe = Probe(nn.Identity(), {"w": weight})
    assert magnitude(probe, Streams(0))["w"].tolist() == [[3.0, 1.0, 4.0, 1.0], [5.0, 9.0, 2.0, 6.0]]
    kept = choose(probe, 0.5, score="magnitude", layers="global", streams=Streams(0))
    assert kept["w"].tolist() == [[False, False, True, False], [True, True, False, True]]


def test_global_magnitude_is_the_top_of_all_weights():
    model = net()
    masks = make_masks(model, 0.1, score="magnitude", layers="global", seed=0)
    flat = np.concatenate([w.detach().double().abs().numpy().ravel() for w in maskable(model).values()])
    kept = np.concatenate([masks[n].numpy().ravel() for n in maskable(model)])
    assert kept.sum() == 23 and flat[kept].min() > flat[~kept].max()  # floor(.1 * 232 + 1/2)


def test_a_mapping_gives_each_layer_its_own_density():
    masks = make_masks(net(), None, layers={"0.weight": 0.5, "2.weight": 0.0126, "4.weight": 1.0}, seed=0)
    assert [int(m.sum()) for m in masks.values()] == [60, 1, 32]


def test_maskable_patterns_leave_the_rest_dense():
    masks = make_masks(net(), 0.5, layers="uniform", seed=0, maskable=["0.*", "2.*"])
    assert list(masks) == ["0.weight", "2.weight"] and masks.nonzeros == 100


def test_layer_options_reach_the_scheme():
    probe = Probe(net(), {n: w.detach() for n, w in maskable(net()).items()})
    kept = choose(probe, 0.3, score="random", layers="erk", streams=Streams(0), layer_options={"power": 0.0})
    assert [int(m.sum()) for m in kept.values()] == [36, 24, 10]  # uniform: 70 of 232 is 36.2, 24.1, 9.7


def test_options_stand_beside_a_name():
    """Power 0 is uniform: 36, 24 and 10 of the 70 that stay. Random weights drawn by themselves miss the number."""
    model = net()
    masks = make_masks(model, 0.3, layers={"name": "erk", "power": 0.0}, seed=0)
    assert [int(m.sum()) for m in masks.values()] == [36, 24, 10]
    drawn = {make_masks(model, 0.3, score={"name": "random", "exact": False}, seed=seed).nonzeros for seed in range(9)}
    assert len(drawn) > 1 and make_masks(model, 0.3, score={"name": "random"}, seed=0).nonzeros == 70
    of_a_score = {"name": "taylor", "minibatch": 0}
    data = [(torch.zeros(4, 12), torch.zeros(4, dtype=torch.int64))]
    with pytest.raises(so.UserError, match=r"scores\.taylor\.minibatch"):
        make_masks(model, 0.3, layers=of_a_score, data=data, seed=0)


def test_public_names_lead_here():
    assert so.make_masks is make_masks and so.Masks is type(make_masks(net(), 0.5, seed=0))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"density": 0.0}, r"density: out of range"),
        ({"density": 1.5}, r"density: out of range"),
        ({"density": None}, r"density: may be left out only"),
        ({"score": "magnitud"}, r"did you mean 'magnitude'"),
        ({"layers": "erkk"}, r"layers: unknown density scheme.*did you mean 'erk'"),
        ({"layers": {"0.weight": 0.5, "2.weigt": 0.5}}, r"found '2.weigt'.*did you mean '2.weight'"),
        ({"layers": {"0.weight": 0.5}}, r"density of layer '2.weight' is missing"),
        ({"structure": "blok"}, r"structure.*'blok'.*did you mean 'block'"),
        ({"score": {"rounds": 3}}, r"score: must be a name, or a mapping with a name and options"),
        ({"score": {"name": "magnitude", "round": 3}}, r"scores\.magnitude: unknown option"),
        ({"layers": {"name": "erk", "powr": 2.0}}, r"densities\.erk: unknown option .*did you mean 'power'"),
        ({"layers": {"name": "global", "power": 2.0}}, r"layers: global has no options"),
        ({"layers": 3}, r"layers: must be a name, or a mapping"),
        ({"maskable": ["head.*"]}, r"no linear or convolution weight"),
    ],
)
def test_mistakes_are_refused_in_one_sentence(arguments, sentence):
    arguments = {"density": 0.5, "seed": 0, **arguments}
    with pytest.raises(so.UserError, match=sentence):
        make_masks(net(), arguments.pop("density"), **arguments)


def test_unknown_options_are_refused_with_the_allowed_ones():
    probe = Probe(net(), {n: w.detach() for n, w in maskable(net()).items()})
    with pytest.raises(so.UserError, match=r"densities\.erk: unknown option .*'powr'.*did you mean 'power'"):
        choose(probe, 0.3, score="random", layers="erk", streams=Streams(0), layer_options={"powr": 0.0})
    with pytest.raises(so.UserError, match=r"scores\.random: unknown option"):
        choose(probe, 0.3, score="random", layers="erk", streams=Streams(0), score_options={"scale": 1})
