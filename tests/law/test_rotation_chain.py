"""How many rotations a density takes: the exact chain, its closed form, and the law of the published algorithm."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import sparse_ortho as so
from sparse_ortho.linalg import chain
from sparse_ortho.linalg.givens import rotate_to
from sparse_ortho.linalg.rotations import draw, supports_after
from sparse_ortho.streams import stream

# (rows, cols), density, where the exact chain crosses it, the closed form there: recorded from the published program
ROWS = [
    (100, 100, 0.03, 57, 55.4),
    (100, 100, 0.05, 84, 81.7),
    (100, 100, 0.14, 144, 137.6),
    (100, 100, 0.50, 252, 227.5),
    (100, 100, 0.90, 394, 336),
    (100, 100, 0.99, 542, 455),
    (100, 784, 0.05, 1475, 1456),
    (10, 100, 0.30, 200, 186),
    (128, 128, 0.125, 192, 184),
    (64, 64, 0.316, 116, 106),
]


@pytest.mark.parametrize(("rows", "cols", "density", "crossing", "logistic"), ROWS)
def test_the_mean_of_200_draws_is_where_the_exact_chain_crosses(rows, cols, density, crossing, logistic):
    expected = chain.expected_rotations(rows, cols, density)
    assert math.ceil(expected) == crossing
    assert abs(chain.logistic_rotations(rows, cols, density) - logistic) < 0.6
    draws = [so.sparse_orthogonal(rows, cols, density, seed=s, stop="nearer")[1].rotations for s in range(200)]
    assert abs(np.mean(draws) - crossing) < 4 * np.std(draws, ddof=1) / math.sqrt(200)


@pytest.mark.parametrize(("rows", "cols"), [(3, 3), (2, 5), (7, 4)])
def test_the_chain_is_the_power_of_its_transition_matrix(rows, cols):
    most = max(rows, cols)
    transition = np.zeros((most + 1, most + 1))
    for k in range(most + 1):
        pairs = k * (most - k)  # one zero and one nonzero, of most (most - 1) / 2
        transition[k, k] = 1 - pairs / math.comb(most, 2)
        transition[k, min(k + 1, most)] += pairs / math.comb(most, 2)
    for t in (0, 1, 2, 10):
        exact = np.linalg.matrix_power(transition, t)[1] @ np.arange(most + 1) / most
        assert chain.expected_density(rows, cols, t) == pytest.approx(exact, abs=1e-14)


def test_the_first_two_rotations_by_hand():
    # Of the 3 pairs of 3 columns 2 mix a zero with a nonzero, for k = 1 and 2: k = 1, 2, 3 after two with 1/9, 4/9, 4/9
    assert chain.expected_density(3, 3, 0) == pytest.approx(1 / 3)
    assert chain.expected_density(3, 3, 1) == pytest.approx(5 / 9)
    assert chain.expected_density(2, 3, 2) == pytest.approx(7 / 9)


def test_expected_density_is_the_mean_of_many_matrices():
    rng, densities = np.random.default_rng(0), []
    for _ in range(400):
        supports = supports_after(6, 12, draw(12, rng).take(slice(15)))
        densities.append(sum(s.bit_count() for s in supports) / 72)
    error = np.std(densities, ddof=1) / 20
    assert abs(np.mean(densities) - chain.expected_density(6, 12, 15)) < 4 * error


@pytest.mark.parametrize(("rows", "cols"), [(100, 100), (30, 80), (80, 30), (6, 9)])
def test_the_closed_form_needs_fewer_rotations_and_inverts(rows, cols):
    floor = 1 / max(rows, cols)
    assert chain.logistic_density(rows, cols, 0) == pytest.approx(floor)
    for density in (floor + 0.01, 0.7, 0.95):
        rotations = chain.logistic_rotations(rows, cols, density)
        assert chain.logistic_density(rows, cols, rotations) == pytest.approx(density)
        assert rotations < chain.expected_rotations(rows, cols, density)
    assert chain.logistic_rotations(rows, cols, floor / 2) == 0 == chain.expected_rotations(rows, cols, floor / 2)


@pytest.mark.parametrize("density", [0.0, 1.0, -0.5, 1.5])
def test_a_density_that_is_never_crossed_is_refused(density):
    for function in (chain.expected_rotations, chain.logistic_rotations):
        with pytest.raises(so.UserError, match=r"allowed: \(0, 1\)"):
            function(5, 5, density)


def ks_2samp(first, second) -> float:
    result: Any = stats.ks_2samp(first, second)
    return result.pvalue


def plain(rows, cols, density, rng):
    """The published algorithm with a generator of its own: rotate, copy, count again; the nearer side."""
    before = now = np.eye(rows, cols)
    while np.count_nonzero(now) < density * rows * cols:
        i = rng.integers(cols)
        while (j := rng.integers(cols)) == i:
            pass
        i, j = sorted((i, j))
        angle = rng.uniform(0, 2 * math.pi)
        before, now = now, now.copy()
        now[:, i] = math.cos(angle) * before[:, i] + math.sin(angle) * before[:, j]
        now[:, j] = -math.sin(angle) * before[:, i] + math.cos(angle) * before[:, j]
    asked = density * rows * cols
    return before if asked - np.count_nonzero(before) < np.count_nonzero(now) - asked else now


@pytest.mark.parametrize(("rows", "cols", "density"), [(24, 24, 0.15), (12, 40, 0.1), (16, 16, 0.6)])
def test_matrices_are_distributed_as_those_of_the_plain_algorithm(rows, cols, density):
    ours, theirs = [], []
    rng = np.random.default_rng(1)
    for seed in range(300):
        made = rotate_to(rows, cols, density * rows * cols, stream(seed, "init", "law"), stop="nearer")[0].toarray()
        ours.append(made)
        theirs.append(plain(rows, cols, density, rng))
    for statistic in (
        lambda m: (m != 0).sum(1),  # nonzeros of each row
        lambda m: (m != 0).sum(0),  # support of each column
        lambda m: [np.count_nonzero(m)],
        lambda m: [np.count_nonzero((m != 0).sum(0) == 0)],  # empty columns
        lambda m: np.round(m[m != 0], 12),  # products of sines and cosines: the angles
        lambda m: np.round(m.diagonal(), 12),
    ):
        # Entries of one matrix depend on each other, so one of each, at random; and the mean of each.
        picks = np.random.default_rng(2)
        first, second = ([picks.choice(np.asarray(statistic(m))) for m in made] for made in (ours, theirs))
        assert ks_2samp(first, second) > 1e-4
        first, second = ([np.mean(statistic(m)) for m in made] for made in (ours, theirs))
        assert ks_2samp(first, second) > 1e-4


def test_the_angle_of_a_rotation_is_uniform_on_the_circle():
    """A 2 x 2 of four nonzeros is one rotation, and shows its angle."""
    angles = []
    for seed in range(1000):
        (cos, minus), (sin, _) = rotate_to(2, 2, 4, np.random.default_rng(seed))[0].toarray()
        assert minus == -sin
        angles.append(math.atan2(sin, cos) % (2 * math.pi))
    assert stats.kstest(np.array(angles) / (2 * math.pi), "uniform").pvalue > 1e-4
