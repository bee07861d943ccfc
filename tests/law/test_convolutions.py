"""Orthogonal convolutions: they keep norms, EOI keeps counts, every group is a block of its own."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.nn import functional as F

import sparse_ortho as so
from sparse_ortho.inits.blocks import Blocks, blocks_of
from sparse_ortho.inits.eoi import eoi, matrix_count
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.linalg.convolution import block_kernel, delta_kernel
from sparse_ortho.linalg.haar import haar, projection
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.probe import Probe
from sparse_ortho.prune import make_masks
from sparse_ortho.streams import Streams

PAIRS = [(1, 1), (1, 5), (3, 8), (6, 6), (13, 17), (8, 3), (7, 1)]  # c_in, c_out


def circular(kernel, x, groups=1):
    """The operator itself: stride 1, circular padding, any number of axes."""
    sides = [k // 2 for k in kernel.shape[2:] for _ in range(2)]
    padded = F.pad(x, sides, mode="circular") if any(sides) else x
    return {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[kernel.ndim - 2](padded, kernel, groups=groups)


def stretch(kernel, groups=1, side=7):
    """Largest relative change of a norm: of x if c_out >= c_in, otherwise of y under the transposed operator."""
    outputs, inputs = kernel.shape[0], kernel.shape[1] * groups
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, inputs, *[side] * (kernel.ndim - 2), dtype=kernel.dtype, generator=generator).requires_grad_()
    y, source = circular(kernel, x, groups), x
    if outputs < inputs:
        source = torch.randn(y.shape, dtype=kernel.dtype, generator=generator)
        y = torch.autograd.grad(y, x, source)[0]
    before, after = source.detach().flatten(1).norm(dim=1), y.detach().flatten(1).norm(dim=1)
    return float((after / before - 1).abs().max())


def probe_of(shapes):
    return Probe(nn.Identity(), {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def mask_of(shape, count):
    return (torch.arange(math.prod(shape)) < count).view(shape)


@pytest.mark.parametrize(("inputs", "outputs"), PAIRS)
@pytest.mark.parametrize("taps", [1, 3, 5])
def test_delta_and_block_convolutions_keep_norms(inputs, outputs, taps):
    rng = np.random.default_rng(0)
    delta = delta_kernel(haar(outputs, inputs, rng), taps, 2)
    block = block_kernel(outputs, inputs, taps, 2, rng)
    for kernel in (delta, block):
        assert kernel.shape == (outputs, inputs, taps, taps) and kernel.dtype == np.float64
        assert stretch(torch.from_numpy(kernel)) < 1e-12


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (5, 3)])
def test_convolutions_of_one_and_three_axes_keep_norms(axes, inputs, outputs):
    assert stretch(torch.from_numpy(block_kernel(outputs, inputs, 3, axes, np.random.default_rng(0))), side=4) < 1e-12


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 9), (9, 4)])
def test_a_block_kernel_is_orthogonal_at_every_frequency(inputs, outputs):
    kernel = block_kernel(outputs, inputs, 3, 2, np.random.default_rng(1))
    at = np.moveaxis(np.fft.fft2(kernel, s=(8, 8)), (0, 1), (-2, -1))  # 8 x 8 x outputs x inputs
    wide = at if outputs <= inputs else at.conj().swapaxes(-1, -2)
    assert np.abs(wide @ wide.conj().swapaxes(-1, -2) - np.eye(min(inputs, outputs))).max() < 1e-12


def test_block_kernels_fill_all_taps_with_new_projections_at_every_step():
    # One pair for all steps gives (P + z (I - P))^2 = P + z^2 (I - P) along an axis: the middle would be exactly 0.
    for seed in range(5):
        kernel = block_kernel(8, 8, 3, 2, np.random.default_rng(seed))
        assert (np.abs(kernel).max((0, 1)) > 1e-3).all()
        assert all(np.linalg.norm(kernel.sum(axis)[:, :, 1]) > 0.1 for axis in (2, 3))


def test_projections_are_symmetric_idempotent_and_keep_half():
    ranks = []
    for seed in range(200):
        matrix = projection(6, np.random.default_rng(seed))
        assert np.abs(matrix - matrix.T).max() < 1e-14 and np.abs(matrix @ matrix - matrix).max() < 1e-13
        ranks.append(round(np.trace(matrix)))
    assert stats.binomtest(sum(ranks), 1200).pvalue > 1e-3


@pytest.mark.parametrize("kernel", ["block", "delta"])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 8), (6, 6), (8, 3)])
def test_orthogonal_convolutions_are_norm_preserving_times_gain(kernel, inputs, outputs):
    model = nn.Conv2d(inputs, outputs, 3)
    initialize_(model, None, "orthogonal", seed=0, gain=1.5, kernel=kernel)
    assert stretch(model.weight.detach().double() / 1.5) < 1e-6
    assert (int(model.weight.count_nonzero()) == inputs * outputs) == (kernel == "delta")


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("density", [0.15, 0.5, 1.0])
@pytest.mark.parametrize(("inputs", "outputs", "taps"), [(3, 8, 1), (3, 8, 3), (6, 6, 5), (8, 3, 3)])
def test_eoi_convolutions_keep_norms(inputs, outputs, taps, density, more):
    model = nn.Conv2d(inputs, outputs, taps)
    masks = make_masks(model, max(density, 1 / max(inputs, outputs)), seed=0)
    made = initialize_(model, masks, "eoi", seed=0, gain=0.5, more_nonzeros=more)
    assert made is not None and made.nonzeros == masks.nonzeros
    assert stretch(model.weight.detach().double() / 0.5) < 1e-6


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([0, 1, 3, 5])), min_size=1, max_size=4),
    st.floats(0, 1),
    st.booleans(),
)
def test_counts_are_exact_and_only_middle_taps_are_nonzero(layers, where, more):
    shapes = {f"l{i}": (a, b, k, k) if k else (a, b) for i, (a, b, k) in enumerate(layers)}
    least = {n: min(s[:2]) for n, s in shapes.items()}
    counts = {n: least[n] + round(where * (math.prod(s) - least[n])) for n, s in shapes.items()}
    given_masks = {n: mask_of(s, counts[n]) for n, s in shapes.items()}
    weights, masks = eoi(probe_of(shapes), given_masks, Streams(0), more_nonzeros=more)
    for name, shape in shapes.items():
        assert int(masks[name].sum()) == counts[name] and not weights[name][~masks[name]].any()
        matrix = (
            weights[name].double() if len(shape) == 2 else weights[name].double()[..., shape[2] // 2, shape[2] // 2]
        )
        assert matrix.count_nonzero() == weights[name].count_nonzero() <= counts[name]
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        assert (wide @ wide.T - torch.eye(len(wide))).abs().max() < 5e-7


@pytest.mark.parametrize(
    ("count", "more", "expected"),
    [
        (3686, False, 410),  # t = 0.09998: 4096 t = 409.6
        (3686, True, 1295),  # sqrt(t) = 0.31620, below t k^2 = 0.9
        (92, True, 92),  # t = 1/400 < 1/81: t k^2 is the least
        (36864, True, 4096),
        (36864, False, 4096),
        (64, False, 64),  # the floor, 4096 t is 7
    ],
)
def test_the_matrix_gets_the_density_of_the_formula(count, more, expected):
    assert matrix_count(Blocks(1, 64, 64, 3, 2), count, more) == expected


def test_a_linear_layer_is_the_convolution_of_one_tap():
    made = {}
    for shape in ((12, 20), (12, 20, 1, 1)):
        for more in (False, True):
            made[shape, more] = eoi(probe_of({"w": shape}), {"w": mask_of(shape, 70)}, Streams(0), more_nonzeros=more)
    for (weights, masks), (others, same) in itertools.pairwise(made.values()):
        assert torch.equal(weights["w"].view(-1), others["w"].view(-1))
        assert torch.equal(masks["w"].view(-1), same["w"].view(-1))


def test_released_fractions_of_a_64_x_64_x_3_x_3_layer():
    # Released code at density 0.1: 3.5 % of the weights nonzero with more_nonzeros, 1.1 % without.
    shape = (64, 64, 3, 3)
    for more, expected in ((True, 0.035), (False, 0.011)):
        weights, _ = eoi(probe_of({"w": shape}), {"w": mask_of(shape, 3686)}, Streams(0), more_nonzeros=more)
        assert round(int(weights["w"].count_nonzero()) / weights["w"].numel(), 3) == expected


def test_active_zeros_are_uniform_over_the_whole_kernel():
    # 6 of 144 weights: the 4 of an identity in the middle taps, and 2 anywhere else, middle taps included.
    shape, seeds = (4, 4, 3, 3), range(1400)
    hits = sum(eoi(probe_of({"w": shape}), {"w": mask_of(shape, 6)}, Streams(s))[1]["w"].double() for s in seeds)
    matrix = hits[..., 1, 1].diagonal()
    assert (matrix == len(seeds)).all()
    hits[..., 1, 1].fill_diagonal_(-1)
    extra = hits[hits >= 0].numpy()
    assert extra.shape == (140,) and extra.sum() == 2 * len(seeds)
    # two without replacement: the variance of a cell is (138 / 139) of independent draws
    assert 1e-3 < stats.chi2(139).cdf(((extra - 20) ** 2 / 20).sum() * 139 / 138) < 1 - 1e-3


@pytest.mark.parametrize("name", ["eoi", "orthogonal"])
@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(12, 12, 12), (12, 24, 12), (12, 8, 4), (8, 12, 4)])
def test_every_group_is_a_block_of_its_own(name, inputs, outputs, groups):
    model = nn.Conv2d(inputs, outputs, 3, groups=groups)
    masks = make_masks(model, 0.5, seed=0)
    made = initialize_(model, masks if name == "eoi" else None, name, seed=0, gain=2.0)
    assert made is None or made.nonzeros == masks.nonzeros
    weight = model.weight.detach().double() / 2
    assert stretch(weight, groups) < 1e-6
    for block in weight.split(outputs // groups):  # each on its own, not on average
        assert stretch(block) < 1e-6


def test_every_channel_of_a_depthwise_convolution_passes_at_its_floor():
    # As one 96 x 1 matrix it would be a single unit vector: most channels dead.
    model = nn.Conv2d(96, 96, 3, groups=96)
    made = initialize_(model, Masks({"weight": mask_of((96, 1, 3, 3), 96)}), "eoi", seed=0, gain=1.25)
    assert made is not None and made.nonzeros == 96
    assert (model.weight.detach().flatten(1).norm(dim=1) == 1.25).all()


def test_a_grouped_layer_under_its_floor_is_paid_by_the_others():
    model = nn.Sequential(nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 16, 3))
    masks = Masks({"0.weight": mask_of((16, 1, 3, 3), 4), "1.weight": mask_of((16, 16, 3, 3), 100)})
    made = initialize_(model, masks, "eoi", seed=0)
    assert made is not None and [int(m.sum()) for m in made.values()] == [16, 88]
    assert stretch(model.get_parameter("0.weight").detach().double(), 16) < 1e-6


def test_blocks_follow_the_layers():
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 6, 5, groups=3), nn.Conv1d(6, 6, 1), nn.Linear(6, 3))
    found = blocks_of(Probe(model, {n: w.detach() for n, w in maskable(model).items()}), "eoi")
    assert list(found.values()) == [
        Blocks(1, 6, 4, 3, 2),
        Blocks(3, 2, 2, 5, 2),
        Blocks(1, 6, 6, 1, 1),
        Blocks(1, 3, 6, 1, 0),
    ]
    assert [b.floor for b in found.values()] == [4, 6, 6, 3]
    assert [b.size for b in found.values()] == [w.numel() for w in maskable(model).values()]


@pytest.mark.parametrize("name", ["eoi", "orthogonal"])
@pytest.mark.parametrize("size", [2, 4, (3, 5), (1, 3)])
def test_even_and_oblong_kernels_are_refused_by_name(name, size):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, size))
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(so.UserError, match=rf"^1\.weight: {name} needs square kernels of odd size"):
        initialize_(model, None, name, seed=0)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_kaiming_counts_the_inputs_of_a_group():
    model = nn.Sequential(nn.Conv2d(64, 256, 3, groups=4), nn.Conv2d(300, 300, 5, groups=300), nn.Conv2d(50, 90, 3))
    initialize_(model, None, "kaiming", seed=0)
    for weight, fan_in in zip(maskable(model).values(), (16 * 9, 25, 450), strict=True):
        values, std = weight.detach().double().flatten().numpy(), math.sqrt(2 / fan_in)
        assert stats.kstest(values / std, "norm").pvalue > 1e-3
