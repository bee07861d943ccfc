"""Approximate isometry: the minimum that a mask allows, by an independent bound and by autograd."""

import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.sparse import csr_array
from scipy.sparse.csgraph import structural_rank
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.inits.isometry import isometry, isometry_as_released
from sparse_ortho.inits.orthogonal import orthogonal
from sparse_ortho.linalg.structural import maximum_matching, missing_rank
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

law = settings(deadline=None, derandomize=True)
BOTH = ["isometry", "isometry@as_released"]


@pytest.fixture(autouse=True)
def one_thread():
    """100 x 100 products gain nothing from a second one, and on a busy machine lose a hundredfold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def bernoulli(shape, density, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random(shape) < density)


def probe_of(**shapes):
    return Probe(nn.Identity(), {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def values_of(weight):
    return torch.linalg.svdvals(weight.detach().double().flatten(1))


def loss_of(weight, gain=1.0):
    return float((values_of(weight) ** 2 - gain**2).norm())


def run(function, mask, seed=0, **options):
    return function(probe_of(w=tuple(mask.shape)), {"w": mask}, Streams(seed), **options)[0]["w"]


@pytest.mark.parametrize("start", ["orthogonal", "kaiming"])
@pytest.mark.parametrize(
    ("shape", "density"), [((100, 100), 0.03), ((100, 100), 0.05), ((100, 100), 0.1), ((50, 120), 0.03)]
)
def test_a_thin_mask_ends_as_a_partial_isometry_at_its_structural_bound(shape, density, start):
    for seed in range(4):
        mask = bernoulli(shape, density, seed)
        missing = min(shape) - structural_rank(csr_array(mask.numpy().astype(int)))
        values = values_of(run(isometry, mask, seed, start=start))
        ones, zeros = values[: min(shape) - missing], values[min(shape) - missing :]
        assert (ones - 1).abs().max() < 0.01 and (zeros < 1e-3).all()


def test_the_seven_layer_network_ends_far_below_the_released_descent():
    """Layers of 784, five of 100 and 10, density 0.1: the released descent is at 7.27 in all after 10,000 steps."""
    shapes = [(100, 784), *[(100, 100)] * 5, (10, 100)]
    losses = [loss_of(run(isometry, bernoulli(shape, 0.1, seed=i), seed=i)) for i, shape in enumerate(shapes)]
    ranks = [structural_rank(csr_array(bernoulli(s, 0.1, seed=i).numpy().astype(int))) for i, s in enumerate(shapes)]
    bound = sum(math.sqrt(min(shape) - rank) for shape, rank in zip(shapes, ranks, strict=True))
    assert bound - 1e-6 < sum(losses) < bound + 0.1


def test_at_one_half_the_singular_values_are_those_of_the_released_code_after_ten_thousand_steps():
    mask = bernoulli((100, 100), 0.5)
    released, ours = run(isometry_as_released, mask), run(isometry, mask)
    assert 0.19 < loss_of(released) < 0.275  # recorded: 0.275 after 1,000 and 0.200 after 10,000 steps
    assert (values_of(released) - 1).abs().max() < 0.025  # recorded: 0.981 to 1.020
    assert loss_of(ours) < 0.1 and (values_of(ours) - 1).abs().max() < 0.02
    halfway = run(isometry_as_released, mask, steps=300)
    assert loss_of(halfway) > 2 * loss_of(ours)


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (8, 3, 3, 3)])
@pytest.mark.parametrize("gain", [1.0, 1.7])
def test_the_released_descent_is_plain_descent_on_the_norm_by_autograd(shape, gain):
    mask = bernoulli(shape, 0.5)
    weight = nn.Parameter(orthogonal(probe_of(w=shape), {}, Streams(0), gain=gain)[0]["w"].double())
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(5):
        flat = (weight * mask).flatten(1)
        gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
        optimizer.zero_grad()
        (gram - gain**2 * torch.eye(len(gram))).norm().backward()
        optimizer.step()
    made = run(isometry_as_released, mask, steps=5, gain=gain)
    assert (made - (weight * mask).detach()).abs().max() < 1e-5


@pytest.mark.parametrize("start", ["orthogonal", "kaiming"])
@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (64, 64), (16, 4, 3, 3), (4, 16, 3, 3)])
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_more_steps_never_lose_and_nothing_diverges(shape, density, start):
    mask = bernoulli(shape, density)
    losses = [loss_of(run(isometry, mask, steps=steps, start=start)) for steps in (0, 100, 300)]
    assert losses[0] + 1e-4 > losses[1] and losses[1] + 1e-4 > losses[2] and losses[2] < 1.2


def test_an_orthogonal_start_is_left_where_it_is_and_the_released_code_moves_it():
    mask = torch.ones(40, 60, dtype=torch.bool)
    dense = orthogonal(probe_of(w=(40, 60)), {}, Streams(0))[0]["w"]
    assert (run(isometry, mask) - dense).abs().max() < 1e-5
    assert loss_of(run(isometry_as_released, mask, steps=500)) > 0.02


def test_the_gain_is_a_scale():
    mask = bernoulli((30, 50), 0.2)
    assert torch.equal(run(isometry, mask, gain=2.0), 2 * run(isometry, mask))
    torch.testing.assert_close(values_of(run(isometry, mask, gain=3.0)).max().item(), 3.0, rtol=0.02, atol=0)


@pytest.mark.parametrize("name", BOTH)
def test_masks_stay_and_a_layer_does_not_depend_on_the_others(name):
    def weights(*widths):
        model = nn.Sequential(*(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)))
        masks = Masks({n: bernoulli(tuple(w.shape), 0.4) for n, w in maskable(model).items()})
        made = initialize_(model, masks, name, seed=0, steps=40)
        assert made is not None and made.digest() == masks.digest()
        assert all(not w[~made[n]].any() for n, w in maskable(model).items())
        return model.get_parameter("0.weight")

    assert torch.equal(weights(20, 20, 10), weights(20, 20, 20, 15))


def test_each_group_is_a_block_and_the_released_code_flattens_them_together():
    mask = Masks({"weight": torch.ones(12, 2, 3, 3, dtype=torch.bool)})
    blocks = []
    for name in BOTH:
        model = nn.Conv2d(6, 12, 3, groups=3)
        initialize_(model, mask, name, seed=0, steps=300)
        blocks.append(max(loss_of(block) for block in model.weight.split(4)))
    assert blocks[0] < 1e-4
    depthwise = nn.Conv2d(30, 30, 3, groups=30)
    initialize_(depthwise, Masks({"weight": torch.ones(30, 1, 3, 3, dtype=torch.bool)}), BOTH[0], seed=0)
    torch.testing.assert_close(depthwise.weight.detach().flatten(1).norm(dim=1), torch.ones(30))


@pytest.mark.parametrize("function", [isometry, isometry_as_released])
def test_an_empty_layer_stays_empty(function):
    weight = run(function, torch.zeros(5, 7, dtype=torch.bool), steps=30)
    assert weight.isfinite().all() and not weight.any()


def test_even_kernels_are_possible_from_a_start_that_has_them():
    mask = bernoulli((6, 4, 2, 2), 0.7)
    assert loss_of(run(isometry, mask, start="kaiming")) < 0.5


@pytest.mark.parametrize("shape", [(60, 60), (40, 90), (90, 40), (24, 6, 3, 3)])
def test_repair_gives_full_rank_with_the_same_number_of_weights(shape):
    rows, cols = shape[0], int(np.prod(shape[1:]))
    for seed in range(3):
        mask = bernoulli(shape, 1.6 / max(rows, cols), seed)
        made, masks = isometry(probe_of(w=shape), {"w": mask}, Streams(seed), repair=True)
        flat = masks["w"].flatten(1).numpy()
        assert structural_rank(csr_array(flat.astype(int))) == min(rows, cols)
        missing = min(rows, cols) - structural_rank(csr_array(mask.flatten(1).numpy().astype(int)))
        assert missing > 0 and int((masks["w"] != mask).sum()) == 2 * missing
        assert masks["w"].sum() == mask.sum() and not made["w"][~masks["w"]].any()
        assert loss_of(made["w"]) < 0.05


def test_repair_leaves_a_mask_of_full_rank_alone_and_refuses_what_has_too_few():
    mask = bernoulli((30, 30), 0.4)
    made, masks = isometry(probe_of(w=(30, 30)), {"w": mask}, Streams(0), repair=True)
    assert torch.equal(masks["w"], mask) and torch.equal(made["w"], run(isometry, mask))
    few = torch.zeros(30, 40, dtype=torch.bool)
    few[:29, 0] = True
    with pytest.raises(UserError, match=r"w: too few active weights for full rank \(found 29\); allowed: 30 to 1200"):
        isometry(probe_of(w=(30, 40)), {"w": few}, Streams(0), repair=True)


def test_what_is_short_of_full_rank_is_logged(caplog):
    mask = torch.ones(6, 8, dtype=torch.bool)
    mask[:3, 1:] = False  # three rows share a column
    with caplog.at_level(logging.INFO):
        run(isometry, mask)
    assert "w is 2 short of full rank" in caplog.text
    caplog.clear()
    run(isometry, torch.ones(6, 8, dtype=torch.bool))
    assert "short" not in caplog.text


@law
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.integers(0, 5))
def test_a_matching_is_a_partial_permutation_of_the_structural_rank(rows, cols, density, seed):
    mask = np.random.default_rng(seed).random((rows, cols)) < density
    matching = maximum_matching(mask, np.random.default_rng(seed))
    assert not (matching & ~mask).any() and matching.sum(0).max() <= 1 and matching.sum(1).max() <= 1
    generic = np.where(mask, np.random.default_rng(9).standard_normal((rows, cols)), 0)
    assert matching.sum() == np.linalg.matrix_rank(generic) == min(rows, cols) - missing_rank(mask)


def test_matchings_are_random():
    mask = np.ones((3, 3), dtype=bool)
    drawn = [maximum_matching(mask, np.random.default_rng(seed)).tobytes() for seed in range(600)]
    counts = [drawn.count(one) for one in sorted(set(drawn))]
    assert len(counts) == 6 and 1e-4 < stats.chi2(5).cdf(sum((c - 100) ** 2 / 100 for c in counts)) < 1 - 1e-4
