"""Sparse orthogonal matrices: orthonormal, at or under the budget, and the published number of rotations."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import sparse_ortho as so
from sparse_ortho.linalg import givens

law = settings(deadline=None, derandomize=True)
SIDE = st.integers(1, 24)


def residual(matrix):
    dense = matrix.toarray() if matrix.shape[0] <= matrix.shape[1] else matrix.toarray().T
    return np.abs(dense @ dense.T - np.eye(len(dense))).max()


def replay(rows, cols, rng, until):
    """The published algorithm as written: dense, one rotation at a time, everything counted again after each."""
    matrix = np.eye(rows, cols)
    draws = givens._draw(cols, rng)
    count = 0
    while True:
        i, j, angle = next(draws)
        following = matrix.copy()
        following[:, i] = math.cos(angle) * matrix[:, i] + math.sin(angle) * matrix[:, j]
        following[:, j] = math.cos(angle) * matrix[:, j] - math.sin(angle) * matrix[:, i]
        if np.count_nonzero(following) > until:
            return matrix, count
        matrix, count = following, count + 1
        if np.count_nonzero(matrix) == until:
            return matrix, count


@law
@given(SIDE, SIDE, st.floats(0, 1), st.integers(0, 5))
def test_rows_or_columns_are_orthonormal_at_or_under_the_budget(rows, cols, where, seed):
    floor, size = min(rows, cols), rows * cols
    budget = floor + round(where * (size - floor))
    matrix, info = so.sparse_orthogonal(rows, cols, budget / size, seed=seed)
    assert matrix.shape == (rows, cols) and matrix.dtype == np.float64
    assert residual(matrix) < 1e-12 and info.residual < 1e-12
    assert np.count_nonzero(matrix.toarray()) == matrix.nnz == info.nonzeros <= budget
    assert info.density == info.nonzeros / size


@pytest.mark.parametrize(("rows", "cols", "budget"), [(5, 5, 11), (8, 12, 40), (10, 10, 99), (3, 9, 7), (20, 20, 60)])
def test_it_is_the_last_matrix_before_the_rotation_that_passes_the_budget(rows, cols, budget):
    for seed in range(5):
        matrix, rotations = givens.rotate_to(rows, cols, budget, np.random.default_rng(seed))
        expected, count = replay(rows, cols, np.random.default_rng(seed), budget)
        assert rotations == count
        assert np.abs(matrix.toarray() - expected).max() < 1e-14
        assert ((matrix.toarray() != 0) == (expected != 0)).all()


@law
@given(SIDE, SIDE, st.integers(0, 3))
def test_a_larger_budget_goes_on_where_a_smaller_one_stopped(rows, cols, seed):
    floor, size = min(rows, cols), rows * cols
    totals = range(floor, size + 1, 1 + size // 20)
    counts = [givens.rotate_to(rows, cols, total, np.random.default_rng(seed))[1] for total in totals]
    assert counts == sorted(counts)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 7), (7, 1), (2, 2), (40, 40), (30, 64), (64, 30)])
def test_density_one_is_full_and_the_floor_is_the_identity(rows, cols):
    full, info = so.sparse_orthogonal(rows, cols, 1, seed=0)
    assert info.density == 1 and np.count_nonzero(full.toarray()) == rows * cols and residual(full) < 1e-12
    least, info = so.sparse_orthogonal(rows, cols, 1 / max(rows, cols), seed=0)
    assert info.rotations == 0 and (least.toarray() == np.eye(rows, cols)).all()


def test_less_than_one_nonzero_a_row_is_refused_with_the_range():
    with pytest.raises(so.UserError, match=r"allowed: \[0\.02, 1\] \(20 to 1000 nonzeros\)"):
        so.sparse_orthogonal(20, 50, 0.019, seed=0)
    with pytest.raises(so.UserError, match=r"20 to 1000"):
        so.sparse_orthogonal(50, 20, 0.019, seed=0)


@law
@given(SIDE, SIDE, st.floats(0, 1))
def test_exact_is_exact_or_refused(rows, cols, where):
    floor, size = min(rows, cols), rows * cols
    budget = floor + round(where * (size - floor))
    try:
        matrix, info = so.sparse_orthogonal(rows, cols, budget / size, seed=0, exact=True)
    except so.UserError as error:
        assert "adds more than is missing" in str(error)
        assume(False)
    assert np.count_nonzero(matrix.toarray()) == info.nonzeros == budget
    assert residual(matrix) < 1e-12


USUAL = [(100, 100, 0.05), (64, 64, 0.316), (300, 784, 0.05), (784, 300, 0.1)]


@pytest.mark.parametrize(("rows", "cols", "density"), USUAL)
def test_exact_reaches_the_usual_densities(rows, cols, density):
    for seed in range(3):
        _, info = so.sparse_orthogonal(rows, cols, density, seed=seed, exact=True)
        assert info.nonzeros == round(density * rows * cols)


def test_what_no_orthogonal_matrix_has_is_refused_when_exact():
    # A square orthogonal matrix of n + 1 nonzeros would have a row of two that overlaps another in one place.
    with pytest.raises(so.UserError, match="exactly 11 nonzeros were not reached for 10 x 10"):
        so.sparse_orthogonal(10, 10, 0.11, seed=0, exact=True)


def test_same_seed_same_matrix_and_another_seed_another():
    first, info = so.sparse_orthogonal(50, 70, 0.1, seed=7)
    again, same = so.sparse_orthogonal(50, 70, 0.1, seed=7)
    assert first.toarray().tobytes() == again.toarray().tobytes() and info == same
    assert (so.sparse_orthogonal(50, 70, 0.1, seed=8)[0] != first).nnz > 0


@pytest.mark.parametrize(
    ("rows", "cols", "density", "mean", "sd"),
    [(100, 100, 0.05, 84.5, 3.0), (100, 100, 0.5, 251, 5.4), (10, 100, 0.3, 203, 18), (64, 64, 0.316, 117, 4.7)],
)
def test_number_of_rotations_is_the_published_one(rows, cols, density, mean, sd):
    draws = [so.sparse_orthogonal(rows, cols, density, seed=seed)[1].rotations for seed in range(50)]
    # The published count is that of the nearer side: up to one rotation more than at or under the budget.
    assert -4 * sd / math.sqrt(50) - 1 < np.mean(draws) - mean < 4 * sd / math.sqrt(50)


@pytest.mark.parametrize(("density", "crossing"), [(0.03, 57), (0.05, 84), (0.14, 144), (0.5, 252), (0.9, 394)])
def test_the_exact_chain_crosses_where_published(density, crossing):
    before, after = (givens.expected_density(100, 100, crossing + step) for step in (-1, 1))
    assert before < density < after


def test_expected_density_is_the_mean_of_many_matrices():
    rng = np.random.default_rng(0)
    densities = []
    for _ in range(400):
        draws = givens._draw(12, rng)
        supports = [1 << row if row < 6 else 0 for row in range(12)]
        for i, j, _ in (next(draws) for _ in range(15)):
            supports[i] = supports[j] = supports[i] | supports[j]
        densities.append(sum(s.bit_count() for s in supports) / 72)
    error = np.std(densities, ddof=1) / 20
    assert abs(np.mean(densities) - givens.expected_density(6, 12, 15)) < 4 * error
    assert givens.expected_density(6, 12, 0) == pytest.approx(1 / 12)


def test_pairs_are_uniform_and_angles_cover_the_circle():
    draws = givens._draw(5, np.random.default_rng(0))
    drawn = [next(draws) for _ in range(20_000)]
    pairs = np.zeros((5, 5))
    for i, j, _ in drawn:
        pairs[i, j] += 1
    assert (np.tril(pairs) == 0).all()
    expected = 2000  # 10 pairs; sd 42
    assert np.abs(pairs[np.triu_indices(5, 1)] - expected).max() < 4.5 * 42.5
    angles = np.array([angle for _, _, angle in drawn])
    assert (
        abs(angles.mean() - math.pi) < 4 * (2 * math.pi / math.sqrt(12 * 20_000))
        and 0 <= angles.min() <= angles.max() < 7
    )
