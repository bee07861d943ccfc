"""Initialisations that count the inputs of an output, by the closed forms of their distributions."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import sparse_ortho as so
from sparse_ortho.inits.fans import fans
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.masks import Masks
from sparse_ortho.probe import Probe
from sparse_ortho.prune import make_masks
from sparse_ortho.registry import load
from sparse_ortho.streams import Streams

SHAPES = {"conv": (40, 16, 3, 3), "fc": (60, 500)}
NAMES = ["kaiming_scaled", "kaiming_uniform", "sparse_fan_in", "binary", "bimodal"]


def probe_of(shapes):
    return Probe(nn.Identity(), {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def masks_of(conv=0.5, fc=0.1):
    rng = np.random.default_rng(0)
    return {n: torch.from_numpy(rng.random(SHAPES[n]) < d) for n, d in (("conv", conv), ("fc", fc))}


def weights_of(name, masks=None, **options):
    masks = masks or {n: torch.ones(shape, dtype=torch.bool) for n, shape in SHAPES.items()}
    weights, same = load("inits", name)(probe_of(SHAPES), masks, Streams(0), **options)
    assert all(same[n] is masks[n] for n in masks)
    return {n: w.double().numpy() for n, w in weights.items()}


def variance_is(values, variance, kurtosis):
    """Within 4 standard errors; the variance of a sample variance is (kurtosis - 1) var^2 / n."""
    error = variance * math.sqrt(max(kurtosis - 1, 1e-12) / values.size)
    assert abs(np.mean(values**2) - variance) < 4 * error + 1e-6 * variance
    assert abs(values.mean()) < 4 * math.sqrt(variance / values.size)


KURTOSIS = {"kaiming_scaled": 3, "kaiming_uniform": 1.8, "sparse_fan_in": 3, "binary": 1, "bimodal": 1.875}


@pytest.mark.parametrize("gain", [math.sqrt(2), 0.7])
@pytest.mark.parametrize("name", NAMES)
def test_the_variance_of_a_dense_layer_is_that_of_kaiming(name, gain):
    for layer, values in weights_of(name, gain=gain).items():
        variance_is(values, gain**2 / math.prod(SHAPES[layer][1:]), KURTOSIS[name])


@pytest.mark.parametrize("name", ["kaiming_scaled", "kaiming_uniform", "binary", "bimodal"])
def test_the_variance_of_a_sparse_layer_follows_its_density_or_that_of_all(name):
    masks = masks_of()
    density = {n: float(mask.double().mean()) for n, mask in masks.items()}
    everywhere = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
    for fan_in, factor in (("layer", density), ("global", dict.fromkeys(masks, everywhere))):
        for layer, values in weights_of(name, masks, fan_in=fan_in).items():
            variance_is(values, 2 / (math.prod(SHAPES[layer][1:]) * factor[layer]), KURTOSIS[name])


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_sparse_fan_in_scales_each_output_by_its_own_active_weights(distribution):
    mask = torch.zeros(3, 4000, dtype=torch.bool)
    mask[0, :4000], mask[1, :1000] = True, True
    made = load("inits", "sparse_fan_in")(
        probe_of({"w": (3, 4000)}), {"w": mask}, Streams(0), distribution=distribution
    )
    weight = made[0]["w"].double().numpy()
    assert not weight[~mask.numpy()].any()
    for row, n in ((0, 4000), (1, 1000)):
        values = weight[row, :n] * math.sqrt(n / 2)
        law = "norm" if distribution == "normal" else stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)).cdf
        assert stats.kstest(values, law).pvalue > 1e-4


def test_the_released_sparse_fan_in_is_uniform_with_gain_one_over_root_three():
    masks = masks_of()
    made = weights_of("sparse_fan_in", masks, distribution="uniform", gain=1 / math.sqrt(3))["fc"]
    bound = 1 / masks["fc"].sum(1).sqrt().double().numpy()
    assert (np.abs(made) <= bound[:, None] * (1 + 1e-6)).all() and (np.abs(made).max(1) > 0.8 * bound).all()


def test_the_mean_square_of_an_output_does_not_depend_on_the_density():
    """What density-aware scaling is for: x ~ N(0, 1) through one masked layer, gain 1."""
    x = torch.randn(4000, 200, generator=torch.Generator().manual_seed(0))
    for name, density in itertools.product(["kaiming_scaled", "sparse_fan_in"], [1.0, 0.3, 0.05]):
        layer = nn.Linear(200, 100)
        initialize_(layer, make_masks(layer, density, seed=0), name, seed=0, gain=1.0)
        # Rows differ: the sum of 10 squared normals has a relative deviation of 0.45, over 100 rows 0.045.
        assert abs(float(layer(x).detach().square().mean()) - 1) < 4 * math.sqrt(2 / (200 * density * 100)) + 0.02


def test_fans_by_hand():
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    other = torch.ones(1, 4, dtype=torch.bool)
    probe = probe_of({"a": (3, 4), "b": (1, 4)})
    found = {kind: fans(probe, {"a": mask, "b": other}, kind)["a"].view(-1).tolist() for kind in ("dense", "neuron")}
    assert found == {"dense": [4, 4, 4], "neuron": [2, 1, 1]}
    assert fans(probe, {"a": mask, "b": other}, "layer")["a"].view(-1).tolist() == [1, 1, 1]
    assert fans(probe, {"a": mask, "b": other}, "global")["b"].item() == 4 * 7 / 16


def test_binary_has_two_values_in_equal_parts():
    values = weights_of("binary")["fc"]
    assert np.allclose(np.abs(values), math.sqrt(2 / 500), rtol=1e-6)
    assert stats.binomtest(int((values > 0).sum()), values.size).pvalue > 1e-4


@pytest.mark.parametrize("mode", [0.0, 0.5, math.sqrt(0.75), 1.0])
def test_bimodal_is_the_mixture(mode):
    values = weights_of("bimodal", mode=mode)["fc"].ravel() * math.sqrt(500 / 2)
    if mode == 1:
        assert np.allclose(np.abs(values), 1, rtol=1e-6)
        return
    width = math.sqrt(1 - mode**2)
    assert stats.kstest(
        values, lambda x: (stats.norm.cdf((x - mode) / width) + stats.norm.cdf((x + mode) / width)) / 2
    ).pvalue > 1e-4  # fmt: skip


def test_the_modes_for_relu_are_the_released_ones():
    # +-sqrt(1.5 / n) with a variance of (2 - 1.5) / n around each
    values = weights_of("bimodal")["fc"]
    assert abs(np.abs(values).mean() * math.sqrt(500) - stats.foldnorm(math.sqrt(3)).mean() * math.sqrt(0.5)) < 0.02


def test_a_mode_beyond_the_deviation_is_refused():
    with pytest.raises(so.UserError, match=r"mode: out of range \(found 1.2\); allowed: \[0, 1\]"):
        weights_of("bimodal", mode=1.2)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_layer_is_no_error(name):
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    masks = Masks({"0.weight": torch.zeros(5, 6, dtype=torch.bool), "1.weight": torch.ones(4, 5, dtype=torch.bool)})
    initialize_(model, masks, name, seed=0)
    assert not model.get_parameter("0.weight").any() and model.get_parameter("1.weight").isfinite().all()
