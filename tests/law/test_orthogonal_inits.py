"""EOI as released, shuffled EOI, looks-linear and the sparsest orthogonal matrices."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sparse_ortho as so
from sparse_ortho.inits.eoi import eoi
from sparse_ortho.inits.eoi_as_released import eoi_as_released
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.linalg.sparsest import sparsest_count
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.probe import Probe
from sparse_ortho.prune import make_masks
from sparse_ortho.streams import Streams

law = settings(deadline=None, derandomize=True)


def probe_of(shapes, model=None):
    return Probe(model or nn.Identity(), {n: torch.empty(shape, device="meta") for n, shape in shapes.items()})


def one(shape, count):
    mask = torch.zeros(math.prod(shape), dtype=torch.bool)
    mask[:count] = True
    return {"w": mask.view(shape)}


def gram_error(matrix):
    matrix = matrix.double()
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return float((wide @ wide.T - torch.eye(len(wide))).abs().max())


@law
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.integers(0, 3))
def test_released_eoi_takes_the_nearer_side_and_keeps_the_law(rows, cols, where, seed):
    count, least = round(where * rows * cols), min(rows, cols)
    weights, masks = eoi_as_released(probe_of({"w": (rows, cols)}), one((rows, cols), count), Streams(seed))
    made = int(masks["w"].sum())
    assert gram_error(weights["w"]) < 5e-7 and torch.equal(masks["w"], weights["w"] != 0)
    assert made == least if count <= least else abs(made - count) <= least
    ours = int(
        (eoi(probe_of({"w": (rows, cols)}), one((rows, cols), max(count, least)), Streams(seed))[0]["w"] != 0).sum()
    )
    assert abs(made - max(count, least)) <= max(count, least) - ours


@pytest.mark.parametrize(("more", "asked"), [(False, 410), (True, math.sqrt(0.1) * 4096)])
def test_released_eoi_fills_convolutions_to_their_density(more, asked):
    mask = {"w": torch.from_numpy(np.random.default_rng(0).permutation(36864) < 3686).view(64, 64, 3, 3)}
    weights, masks = eoi_as_released(probe_of({"w": (64, 64, 3, 3)}), mask, Streams(0), more_nonzeros=more)
    nonzeros = int((weights["w"] != 0).sum())
    assert int(masks["w"].sum()) == 3686 and abs(nonzeros - asked) <= 64
    assert not weights["w"][~masks["w"]].any() and gram_error(weights["w"][:, :, 1, 1]) < 5e-7


def test_released_eoi_takes_a_depthwise_convolution_for_one_column():
    shapes, model = {"weight": (96, 1, 3, 3)}, nn.Conv2d(96, 96, 3, groups=96)
    mask = torch.zeros(96, 1, 3, 3, dtype=torch.bool)
    mask.view(-1)[:86] = True
    released, _ = eoi_as_released(probe_of(shapes, model), {"weight": mask}, Streams(0))
    torch.testing.assert_close(released["weight"].norm().item(), 1.0)
    assert int((released["weight"] != 0).sum()) == 10  # 0.1 of 96: the others start at zero


def test_shuffled_eoi_is_eoi_with_the_diagonal_anywhere():
    shape, mask = (20, 30), one((20, 30), 60)
    plain, _ = eoi(probe_of({"w": shape}), mask, Streams(0))
    mixed, masks = eoi(probe_of({"w": shape}), mask, Streams(0), shuffle=True)
    assert gram_error(mixed["w"]) < 5e-7 and int(masks["w"].sum()) == 60
    assert torch.equal(mixed["w"].abs().flatten().sort().values, plain["w"].abs().flatten().sort().values)
    assert plain["w"].diagonal().all() and not mixed["w"].diagonal().all()


def test_a_layer_does_not_depend_on_equal_ones_beside_it():
    def first(*widths):
        model = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(widths)))
        masks = Masks({n: one(tuple(w.shape), w.numel() // 3)["w"] for n, w in maskable(model).items()})
        made = initialize_(model, masks, "eoi", seed=0)
        assert made is not None
        return model.get_parameter("0.weight"), made["0.weight"]

    for alone, among in zip(first(40, 40, 8), first(*[40] * 12), strict=True):
        assert torch.equal(alone, among)


def relu_net(*widths):
    parts = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


def images_of(model):
    """f(e_i) - f(0) and -(f(-e_i) - f(0)), which are one matrix for a linear function."""
    side = next(iter(maskable(model).values())).shape[1]
    with torch.no_grad():
        return [sign * model(sign * torch.eye(side, dtype=torch.float64)).T for sign in (1, -1)]


@pytest.mark.parametrize("density", [0.15, 0.5, 1.0])
def test_a_looks_linear_relu_network_is_an_isometry(density):
    model = relu_net(12, 20, 20, 20, 14).double()
    masks = make_masks(model, density, seed=0)
    made = initialize_(model, masks, "looks_linear", seed=0)
    assert made is not None and made.nonzeros == masks.nonzeros
    forward, backward = images_of(model)
    assert (forward - backward).abs().max() < 1e-6
    # 14 x 12 through 10 mirrored pairs: rank 10, and every singular value that is left at most 1
    values = torch.linalg.svdvals(forward)
    assert (values[10:] < 1e-6).all() and (values[:10] <= 1 + 1e-6).all()


def test_a_looks_linear_network_of_equal_widths_has_singular_values_one_at_any_depth():
    model = relu_net(10, *[20] * 30, 10).double()
    initialize_(model, make_masks(model, 0.3, seed=1), "looks_linear", seed=1, gain=1.01)
    values = torch.linalg.svdvals(images_of(model)[0])
    torch.testing.assert_close(values, torch.full_like(values, 1.01**31), rtol=1e-5, atol=0)


def test_looks_linear_holds_through_convolutions_and_depthwise_ones():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 16, 6, bias=False),
    ).double()
    initialize_(model, make_masks(model, 0.4, seed=0), "looks_linear", seed=0)
    x, y = torch.randn(2, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        assert (model(x + 2 * y) - model(x) - 2 * model(y)).abs().max() < 1e-6 and model(x).abs().max() > 0.1


def test_looks_linear_uses_as_many_weights_as_mirroring_allows():
    model = relu_net(40, 40, 40, 40)
    masks = make_masks(model, 0.25, layers="uniform", seed=0)
    initialize_(model, masks, "looks_linear", seed=0)
    for weight, copies in zip(maskable(model).values(), (2, 4, 2), strict=True):
        # At or under 400 / copies nonzeros of M; one rotation adds at most twice its 20 rows.
        assert 400 - copies * 40 < int(weight.count_nonzero()) <= 400


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: relu_net(10, 9, 9, 10), "0.weight: looks_linear mirrors the sides between layers, which must be even"),
        (
            lambda: nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=2)),
            "1.weight: looks_linear knows no groups",
        ),
    ],
)
def test_what_cannot_be_mirrored_is_refused_by_name(build, sentence):
    with pytest.raises(so.UserError, match=sentence):
        initialize_(build(), None, "looks_linear", seed=0)


def test_the_sparsest_matrices_have_four_n_less_four_weights_and_zeros_fill_the_layer():
    model = nn.Sequential(nn.Linear(30, 30), nn.Conv2d(30, 12, 3), nn.Conv2d(12, 12, 3, groups=4))
    masks = make_masks(model, 0.3, seed=0)
    made = initialize_(model, masks, "max_sparse_orthogonal", seed=0, gain=2.0)
    assert made is not None and made.layer_densities() == masks.layer_densities()
    first, second, grouped = (w.detach() for w in maskable(model).values())
    assert int(first.count_nonzero()) == 116 and gram_error(first / 2) < 5e-7
    assert int(second.count_nonzero()) == sparsest_count(12, 30) == 62 and gram_error(second[:, :, 1, 1] / 2) < 5e-7
    assert int(grouped.count_nonzero()) == 4 * 8
    assert max(gram_error(block / 2) for block in grouped[:, :, 1, 1].split(3)) < 5e-7


def test_too_few_weights_for_the_sparsest_are_refused_with_the_range():
    with pytest.raises(so.UserError, match=r"allowed: \[0\.36, 1\] \(36 to 100 weights\)"):
        initialize_(nn.Linear(10, 10), Masks({"weight": one((10, 10), 20)["w"]}), "max_sparse_orthogonal", seed=0)
