"""SAO: orthogonal on a regular graph, for every degree that divides, in linear layers and whole kernels."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import nn
from torch.nn import functional as F

import sparse_ortho as so
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.inits.sao import sao
from sparse_ortho.linalg.ramanujan import degrees, looks_linear, regular_orthogonal
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.models.mlp import mlp
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.probe import Probe
from sparse_ortho.prune import make_masks
from sparse_ortho.streams import Streams

RAW = {"data": "digits", "model": {"name": "mlp", "width": 64}, "density": 0.125}


def probe_of(**shapes):
    return Probe(nn.Identity(), {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def mask_of(shape, count):
    return (torch.arange(math.prod(shape)) < count).view(shape)


def run(shape, count, seed=0, **options):
    weights, masks = sao(probe_of(w=shape), {"w": mask_of(shape, count)}, Streams(seed), **options)
    return weights["w"], masks["w"]


def gram(matrix):
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return wide @ wide.T


EVERY = [(r, c, d) for r in range(1, 13) for c in range(1, 13) for d in degrees(r, c)]


def test_a_matrix_of_every_degree_is_orthonormal_and_regular():
    for rows, cols, degree in EVERY:
        matrix = regular_orthogonal(rows, cols, degree, np.random.default_rng(0))
        narrow, wide = sorted((rows, cols))
        assert matrix.shape == (rows, cols)
        assert abs(gram(matrix) - np.eye(narrow)).max() < 1e-14
        support = (matrix if rows <= cols else matrix.T) != 0
        assert (support.sum(1) == degree).all() and (support.sum(0) == narrow * degree / wide).all()


def test_the_graph_is_a_union_of_complete_ones():
    for rows, cols, degree in EVERY:
        support = csr_array(regular_orthogonal(rows, cols, degree, np.random.default_rng(1)) != 0, dtype=float)
        empty = csr_array((rows, rows)), csr_array((cols, cols))
        both = np.block([[empty[0].toarray(), support.toarray()], [support.toarray().T, empty[1].toarray()]])
        parts = max(rows, cols) // degree
        assert connected_components(csr_array(both), directed=False)[0] == parts
        values = np.linalg.svd(support.toarray(), compute_uv=False)  # of K_{a,D}: sqrt(a D), and 0
        assert np.allclose(values[:parts], math.sqrt(degree * degree * min(rows, cols) / max(rows, cols)))
        assert np.allclose(values[parts:], 0)


@pytest.mark.parametrize(
    ("rows", "cols", "found"),
    [
        (128, 128, [1, 2, 4, 8, 16, 32, 64, 128]),
        (64, 128, [2, 4, 8, 16, 32, 64, 128]),
        (128, 784, [49, 98, 196, 392, 784]),
        (784, 128, [49, 98, 196, 392, 784]),
        (10, 128, [64, 128]),
        (16, 3, [16]),
        (7, 7, [1, 7]),
    ],
)
def test_degrees_by_hand(rows, cols, found):
    assert degrees(rows, cols) == found


def test_every_other_degree_is_refused_with_those_that_divide():
    for degree in set(range(-1, 20)) - {4, 8, 16}:
        with pytest.raises(so.UserError, match=r"allowed: 4, 8, 16$"):
            regular_orthogonal(4, 16, degree, np.random.default_rng(0))


def test_which_columns_share_a_set_is_uniform():
    # of 7 other columns 3 share the set of the first one: each with probability 3/7
    draws = 1400
    mates = np.zeros(7)
    for seed in range(draws):
        support = regular_orthogonal(8, 8, 4, np.random.default_rng(seed)) != 0
        mates += support[np.flatnonzero(support[:, 0])[0], 1:]
    assert mates.sum() == 3 * draws
    statistic = ((mates - draws * 3 / 7) ** 2 / (draws * (3 / 7) * (4 / 7))).sum() * 6 / 7  # draws without replacement
    assert 1e-3 < stats.chi2(6).cdf(statistic) < 1 - 1e-3


@pytest.mark.parametrize(("outputs", "inputs", "degree"), [(128, 128, 16), (64, 128, 16), (128, 64, 16), (16, 16, 2)])
def test_degree_16_of_width_128_is_density_one_eighth(outputs, inputs, degree):
    weight, mask = run((outputs, inputs), 1, degree=degree)
    assert int(mask.sum()) == outputs * inputs / 8
    assert torch.equal(mask, weight != 0)
    assert abs(gram(weight.double()) - torch.eye(min(outputs, inputs))).max() < 5e-7


@pytest.mark.parametrize(
    ("shape", "count", "degree"),
    [
        ((128, 128), 1960, 16),  # 15.3
        ((128, 128), 12 * 128, 8),  # as far from 8 as from 16
        ((128, 128), 12 * 128 + 1, 16),
        ((128, 128), 0, 1),
        ((128, 128), 128 * 128 - 1, 128),
        ((128, 784), 12544, 98),  # exactly 1/8
        ((10, 128), 160, 64),  # 1/8 asked, 1/2 got
        ((128, 64, 3, 3), 9 * 1024, 16),
        ((16, 3, 3, 3), 1, 16),  # dense is all there is
    ],
)
def test_without_a_degree_the_nearest_to_the_count_is_taken(shape, count, degree):
    _, mask = run(shape, count)
    assert int(mask.sum()) == degree * min(shape[:2]) * math.prod(shape[2:])


def test_only_the_count_of_the_incoming_mask_is_read():
    shape, streams = (32, 32), Streams(3)
    first = mask_of(shape, 130)
    for given in (first, first.flip(0), first[torch.randperm(32, generator=torch.Generator().manual_seed(0))]):
        weights, masks = sao(probe_of(w=shape), {"w": given}, streams)
        assert torch.equal(weights["w"], run(shape, 130, 3)[0]) and torch.equal(masks["w"], run(shape, 130, 3)[1])


@pytest.mark.parametrize(("outputs", "inputs", "groups"), [(8, 8, 1), (4, 8, 1), (8, 4, 1), (8, 8, 2), (8, 8, 8)])
@pytest.mark.parametrize("taps", [1, 3, 5])
def test_a_convolution_keeps_norms_and_whole_kernels(outputs, inputs, groups, taps):
    model = nn.Conv2d(inputs, outputs, taps, groups=groups, bias=False)
    made = initialize_(model, make_masks(model, 0.5, seed=0), "sao", seed=0, gain=2.0)
    assert made is not None
    mask, weight = made["weight"], model.weight.detach().double()
    assert torch.equal(mask.flatten(2).any(2), mask.flatten(2).all(2))
    off_centre = torch.ones(taps, taps, dtype=torch.bool)
    off_centre[taps // 2, taps // 2] = False
    assert not weight[..., off_centre].any()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, inputs, 6, 6, dtype=torch.float64, generator=generator).requires_grad_()
    y, source = F.conv2d(F.pad(x, [taps // 2] * 4, mode="circular"), weight, groups=groups), x
    if outputs < inputs:  # then it is the transposed operator that keeps norms
        source = torch.randn(y.shape, dtype=torch.float64, generator=generator)
        y = torch.autograd.grad(y, x, source)[0]
    torch.testing.assert_close(y.norm(), 2 * source.norm(), rtol=1e-6, atol=0)


def test_layers_that_the_mask_keeps_whole_are_dense_orthogonal_and_the_others_have_the_degree():
    model = mlp((28, 28), 10, depth=40, width=128)
    masks = make_masks(model, 0.4, layers="uniform_skip", seed=0)
    made = initialize_(model, masks, "sao", seed=0, degree=16, relu=True, gain=1.5)
    assert made is not None
    first, *hidden, last = maskable(model)
    assert made[first].all() and made[last].all() and masks.nonzeros != made.nonzeros
    assert {int(made[name].sum()) for name in hidden} == {2048}
    for name in (first, last):
        weight = model.get_parameter(name).detach().double() / 1.5
        assert abs(gram(weight) - torch.eye(min(weight.shape))).max() < 5e-7


def test_relu_nets_on_mirrored_inputs_are_linear_isometries():
    shapes = {f"l{i}": (16, 16) for i in range(12)}
    counts = {name: mask_of(shape, 64) for name, shape in shapes.items()}
    weights, masks = sao(probe_of(**shapes), counts, Streams(0), degree=4, relu=True)
    z = np.random.default_rng(0).standard_normal(8)
    mirrored, plain = np.concatenate([z, -z]), z
    for name, weight in weights.items():
        W = weight.double().numpy()
        assert (masks[name].sum(1) == 4).all() and (masks[name].sum(0) == 4).all()
        mirrored, plain = W @ np.maximum(mirrored, 0), W[:8, :8] @ plain
    np.testing.assert_allclose(mirrored, np.concatenate([plain, -plain]), atol=1e-5)
    assert math.isclose(np.linalg.norm(plain), np.linalg.norm(z), rel_tol=1e-5)


def test_looks_linear_by_hand():
    assert looks_linear(np.array([[1.0, 2.0]])).tolist() == [[1, 2, -1, -2], [-1, -2, 1, 2]]


def test_a_net_without_activations_has_singular_values_gain_to_the_depth():
    model = mlp((32,), 32, depth=30, width=32, activation="linear")
    initialize_(model, make_masks(model, 0.125, layers="uniform", seed=0), "sao", seed=0, degree=4, gain=1.05)
    product = torch.eye(32, dtype=torch.float64)
    for weight in maskable(model).values():
        product = weight.detach().double() @ product
    assert (torch.linalg.svdvals(product) / 1.05**30 - 1).abs().max() < 1e-5
    assert product.count_nonzero() == 32 * 32  # sets of their own in every layer connect all inputs


@pytest.mark.parametrize(
    ("shape", "options", "sentence"),
    [
        ((128, 784), {"degree": 16}, r"w: 128 x 784 .*uniform_skip.*\(found 16\); allowed: 49, 98, 196, 392, 784$"),
        ((16, 16), {"degree": 3}, r"w: 16 x 16 cannot .*\(found 3\); allowed: 1, 2, 4, 8, 16$"),
        ((16, 16), {"degree": 1, "relu": True}, r"\(found 1\); allowed: 2, 4, 8, 16$"),
        ((15, 16), {"relu": True}, r"w: sao with relu needs even sides.*'15 x 16'"),
        ((8, 8, 2, 2), {}, r"w: sao needs square kernels of odd size"),
    ],
)
def test_mistakes_are_refused_in_one_sentence(shape, options, sentence):
    with pytest.raises(so.UserError, match=sentence):
        run(shape, 1, **options)


def test_nothing_is_written_when_one_layer_is_refused():
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 6))
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(so.UserError, match="1.weight"):
        initialize_(model, Masks({n: torch.zeros_like(w).bool() for n, w in maskable(model).items()}), "sao", seed=0,
                    degree=4)  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("word", ["SAO", "uniform_SAO", "uni_skip_SAO"])
def test_the_words_of_the_released_program_mean_dense_ends(word):
    plain = resolve_cell(RAW | {"mask": "uniform_skip", "init": {"name": "sao", "degree": 16}}, "here")
    for init in ({"degree": 16}, {"name": "sao", "degree": 16}):
        assert resolve_cell(RAW | {"mask": word, "init": init}, "here").id == plain.id
    assert resolve_cell(RAW | {"mask": word}, "here").nodes["init"].spec["init"] == {"name": "sao"}
