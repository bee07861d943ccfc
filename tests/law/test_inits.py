"""Initialisation: orthogonal after EOI, exact counts, streams that depend on names only."""

import hashlib
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import sparse_ortho as so
from sparse_ortho.inits.eoi import eoi
from sparse_ortho.inits.initialize import initialize, initialize_
from sparse_ortho.linalg.haar import haar
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.probe import Probe
from sparse_ortho.prune import make_masks
from sparse_ortho.stages.init import densities
from sparse_ortho.streams import Streams

law = settings(deadline=None, derandomize=True)


def mlp(*widths):
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1])


def probe_of(shapes):
    return Probe(nn.Identity(), {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def masks_of(shapes, counts):
    masks = {name: torch.zeros(math.prod(shape), dtype=torch.bool) for name, shape in shapes.items()}
    for name, count in counts.items():
        masks[name][:count] = True
    return {name: mask.view(shapes[name]) for name, mask in masks.items()}


def residual(weight, gain=1.0):
    wide = weight.detach().double() / gain
    wide = wide if wide.shape[0] <= wide.shape[1] else wide.T
    return (wide @ wide.T - torch.eye(len(wide))).abs().max().item()


def state_digest(model):
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.state_dict().values())).hexdigest()


@law
@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=4),
    st.floats(0, 1),
    st.sampled_from([1.0, 1.5]),
)
def test_eoi_is_orthogonal_with_exact_counts(shapes, where, gain):
    shapes = {f"l{i}": shape for i, shape in enumerate(shapes)}
    counts = {n: min(s) + round(where * (math.prod(s) - min(s))) for n, s in shapes.items()}
    weights, masks = eoi(probe_of(shapes), masks_of(shapes, counts), Streams(0), gain=gain)
    for name in shapes:
        assert weights[name].dtype == torch.float32 and weights[name].shape == shapes[name]
        assert residual(weights[name], gain) < 5e-7
        assert int(masks[name].sum()) == counts[name]
        assert not weights[name][~masks[name]].any()


@law
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=2, max_size=5), st.data())
def test_the_total_stays_when_layers_are_under_their_floor(shapes, data):
    shapes = {f"l{i}": shape for i, shape in enumerate(shapes)}
    counts = {n: data.draw(st.integers(0, math.prod(s))) for n, s in shapes.items()}
    least, total = sum(map(min, shapes.values())), sum(counts.values())
    if total < least:
        with pytest.raises(so.UserError, match=rf"\({least} to "):
            eoi(probe_of(shapes), masks_of(shapes, counts), Streams(0))
        return
    weights, masks = eoi(probe_of(shapes), masks_of(shapes, counts), Streams(0))
    assert sum(int(m.sum()) for m in masks.values()) == total
    assert all(int(masks[n].sum()) >= min(s) and residual(weights[n]) < 5e-7 for n, s in shapes.items())


def test_a_layer_under_its_floor_is_paid_by_the_others_by_hand():
    shapes = {"a": (4, 4), "b": (8, 8), "c": (8, 8)}
    # a needs 4 of 34: b and c keep 30 in the ratio 20 : 12, that is 18.75 and 11.25
    _, masks = eoi(probe_of(shapes), masks_of(shapes, {"a": 2, "b": 20, "c": 12}), Streams(0))
    assert [int(m.sum()) for m in masks.values()] == [4, 19, 11]


def test_filled_positions_are_uniform_among_the_zeros():
    # 8 nonzeros are the identity (9 do not exist for a square), so the 9th weight is one of the 56 others
    masks = [eoi(probe_of({"w": (8, 8)}), masks_of({"w": (8, 8)}, {"w": 9}), Streams(s))[1]["w"] for s in range(1120)]
    assert all(mask.diagonal().all() for mask in masks)
    hits = torch.stack(masks).sum(0).numpy()
    extra = hits[~np.eye(8, dtype=bool)]
    assert extra.sum() == 1120
    assert 1e-3 < stats.chi2(55).cdf(((extra - 20) ** 2 / 20).sum()) < 1 - 1e-3


@pytest.mark.parametrize("shape", [(5, 30), (30, 5), (12, 12), (1, 6)])
def test_orthogonal_is_orthonormal_times_gain(shape):
    model = nn.Linear(shape[1], shape[0])
    initialize_(model, None, "orthogonal", seed=0, gain=2.0)
    assert residual(model.weight, 2.0) < 5e-7


def test_orthogonal_signs_are_fair():
    # Without the sign correction R_ii > 0 fixes the sign of Q_11 for LAPACK's Householder: always negative.
    positive = sum(haar(6, 6, np.random.default_rng(seed))[0, 0] > 0 for seed in range(200))
    assert stats.binomtest(int(positive), 200).pvalue > 1e-3


def test_kaiming_variance_is_two_over_fan_in():
    model = nn.Sequential(nn.Conv2d(16, 64, 3), nn.Flatten(), nn.Linear(400, 300))
    initialize_(model, None, "kaiming", seed=0)
    for weight, fan_in in ((model.get_parameter("0.weight"), 144), (model.get_parameter("2.weight"), 400)):
        values = weight.detach().double().flatten().numpy()
        std = math.sqrt(2 / fan_in)
        assert abs(values.std() - std) < 4 * std / math.sqrt(2 * len(values))
        assert abs(values.mean()) < 4 * std / math.sqrt(len(values))
        assert stats.kstest(values / std, "norm").pvalue > 1e-3


@pytest.mark.parametrize("name", ["kaiming", "orthogonal", "eoi", "isometry"])
def test_masked_weights_are_zero_and_the_total_stays(name):
    model = mlp(12, 10, 8, 4)
    masks = make_masks(model, 0.3, seed=0)
    digest = masks.digest()
    made = initialize_(model, masks, name, seed=0)
    assert isinstance(made, Masks) and made.nonzeros == masks.nonzeros and masks.digest() == digest
    for layer, weight in maskable(model).items():
        assert not weight[~made[layer]].any() and not torch.signbit(weight[~made[layer]]).any()
    assert (made.digest() == digest) == (name != "eoi")
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(1.0)
    made.apply_()  # the new masks are bound to the model
    assert int(model.get_parameter("0.weight").detach().count_nonzero()) == int(made["0.weight"].sum())


@pytest.mark.parametrize("name", ["kaiming", "orthogonal", "eoi", "isometry"])
def test_layers_of_one_shape_get_weights_of_their_own(name):
    model = mlp(9, 9, 9)
    initialize_(model, None, name, seed=0)
    assert not torch.equal(model.get_parameter("0.weight"), model.get_parameter("2.weight"))
    masks = initialize_(model, make_masks(model, 0.5, seed=0), name, seed=0)
    assert masks is not None and not torch.equal(masks["0.weight"], masks["2.weight"])


@pytest.mark.parametrize("name", ["kaiming", "orthogonal", "eoi", "isometry"])
@pytest.mark.parametrize("density", [0.3, None])
def test_same_seed_same_bytes_for_any_threads_and_order(name, density):
    def run(threads, reverse):
        torch.set_num_threads(threads)
        layers = {"first": nn.Linear(40, 30), "second": nn.Linear(30, 20), "third": nn.Linear(20, 20)}
        model = nn.ModuleDict(dict(reversed(layers.items())) if reverse else layers)
        masks = None if density is None else make_masks(model, density, seed=1)
        made = initialize_(model, masks, name, seed=1, bias_std=0.1)
        states = {n: v.numpy().tobytes() for n, v in model.state_dict().items()}
        return states, made and made.digest()

    threads = torch.get_num_threads()
    try:
        first = run(1, False)
        assert run(1, False) == run(2, False) == run(1, True) == first
    finally:
        torch.set_num_threads(threads)


def test_biases_are_zero_or_gaussian_and_normalisation_is_left_alone():
    model = nn.Sequential(nn.Linear(50, 4000), nn.BatchNorm1d(4000), nn.Linear(4000, 3, bias=False))
    with torch.no_grad():
        model.get_parameter("1.bias").fill_(0.5)
    initialize_(model, None, "kaiming", seed=0)
    assert (
        not model.get_parameter("0.bias").any()
        and (model.get_parameter("1.weight") == 1).all()
        and (model.get_parameter("1.bias") == 0.5).all()
    )
    initialize_(model, None, "kaiming", seed=0, bias_std=0.2)
    assert abs(model.get_parameter("0.bias").detach().double().std().item() - 0.2) < 4 * 0.2 / math.sqrt(8000)
    assert (model.get_parameter("1.bias") == 0.5).all()


def test_an_eoi_net_without_activations_has_singular_values_one():
    model = mlp(20, 16, 16, 16)
    initialize_(model, make_masks(model, 0.2, seed=0), "eoi", seed=0)
    product = (
        model.get_parameter("4.weight").double()
        @ model.get_parameter("2.weight").double()
        @ model.get_parameter("0.weight").double()
    )
    assert (torch.linalg.svdvals(product) - 1).abs().max() < 1e-6


@pytest.mark.parametrize(
    "name", ["eoi", "eoi@as_released", "eoi_structured", "sao", "orthogonal", "max_sparse_orthogonal", "ortho_repair"]
)
def test_a_network_in_float64_is_orthogonal_to_twelve_digits_and_in_float32_to_six(name):
    errors = []
    for kind in (torch.float64, torch.float32):
        model = nn.Sequential(nn.Linear(32, 64), nn.Linear(64, 32)).to(kind)
        masks = None if name in ("orthogonal", "ortho_repair") else make_masks(model, 0.5, layers="uniform", seed=0)
        initialize_(model, masks, name, seed=0)
        weights = [weight.detach() for weight in maskable(model).values()]
        wide = [weight.double().numpy() if len(weight) == 32 else weight.double().numpy().T for weight in weights]
        errors.append(max(np.abs(w @ w.T - np.eye(32)).max() for w in wide))
        assert all(weight.dtype == kind for weight in weights)
    assert errors[0] < 1e-12 < errors[1] < 5e-7


def test_densities_of_weights_and_of_all_parameters_by_hand():
    """10 of 40 and 5 of 10 weights stay, beside 8 biases: 15 of 50, and 23 of 58."""
    found = densities([["a", 40, 0.25], ["b", 10, 0.5]], 58)
    assert found == {"parameters": 58, "density": 0.3, "density_of_all": 23 / 58}


def test_layers_without_a_mask_are_dense_and_pay_nothing():
    model = mlp(12, 10, 8, 4)
    masks = make_masks(model, 0.2, layers="uniform", seed=0, maskable=["0.*", "2.*"])
    made = initialize_(model, masks, "eoi", seed=0)
    assert made is not None and list(made) == ["0.weight", "2.weight"] and made.nonzeros == 40
    assert model.get_parameter("4.weight").all() and residual(model.get_parameter("4.weight")) < 5e-7


def test_dense_eoi_is_full_and_orthogonal():
    model = mlp(12, 10, 4)
    assert initialize(model, None, "eoi", Streams(0)) is None
    assert all(weight.all() and residual(weight) < 5e-7 for weight in maskable(model).values())


def test_a_density_below_the_floors_is_refused_with_the_reachable_range():
    model = mlp(10, 10, 10)
    with pytest.raises(so.UserError, match=r"allowed: \[0\.1, 1\] \(20 to 200 weights\)"):
        initialize_(model, make_masks(model, 0.05, seed=0), "eoi", seed=0)


def test_unknown_names_and_options_are_refused_with_the_allowed_ones():
    model = mlp(4, 4)
    with pytest.raises(so.UserError, match="did you mean 'kaiming'"):
        initialize_(model, None, "kaming", seed=0)
    with pytest.raises(
        so.UserError, match=r"inits\.eoi: unknown option \(found 'gian'\); allowed: gain, more_nonzeros"
    ):
        initialize_(model, None, "eoi", seed=0, gian=1.0)
    with pytest.raises(so.UserError, match="masks: no maskable layer"):
        initialize_(model, Masks({"1.weight": torch.ones(4, 4, dtype=torch.bool)}), "eoi", seed=0)
