"""Sparse orthogonal matrices: orthonormal, where they stop, and the law of the published algorithm."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.sparse.csgraph import connected_components

import sparse_ortho as so
from sparse_ortho.linalg import givens
from sparse_ortho.linalg.counts import impossible
from sparse_ortho.linalg.rotations import draw
from sparse_ortho.linalg.sparsest import sparsest, sparsest_count

law = settings(deadline=None, derandomize=True)
SIDE = st.integers(1, 24)


def residual(matrix):
    dense = matrix.toarray() if matrix.shape[0] <= matrix.shape[1] else matrix.toarray().T
    return np.abs(dense @ dense.T - np.eye(len(dense))).max()


def sequence_of(cols, rng):
    """What is drawn, one rotation at a time."""
    while True:
        block = draw(cols, rng)
        yield from zip(block.i, block.j, block.angle, strict=True)


def replay(rows, cols, rng, until, further=False):
    """The published algorithm as written: dense, one rotation at a time, everything counted again after each.

    The last matrix at or under the number of nonzeros, or the first one beyond it.
    """
    matrix = np.eye(rows, cols)
    draws, count = sequence_of(cols, rng), 0
    while True:
        i, j, angle = next(draws)
        following = matrix.copy()
        following[:, i] = math.cos(angle) * matrix[:, i] + math.sin(angle) * matrix[:, j]
        following[:, j] = math.cos(angle) * matrix[:, j] - math.sin(angle) * matrix[:, i]
        if np.count_nonzero(following) > until:
            return (following, count + 1) if further else (matrix, count)
        matrix, count = following, count + 1
        if np.count_nonzero(matrix) == until and not further:
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
@given(SIDE, SIDE, st.floats(0, 1), st.integers(0, 3))
def test_exact_is_exact_and_only_what_no_matrix_has_is_refused(rows, cols, where, seed):
    floor, size = min(rows, cols), rows * cols
    budget = floor + round(where * (size - floor))
    if budget in impossible(rows, cols):
        with pytest.raises(so.UserError, match=rf"no orthogonal {rows} x {cols} matrix has exactly {budget} nonzeros"):
            so.sparse_orthogonal(rows, cols, budget / size, seed=seed, exact=True)
        return
    matrix, info = so.sparse_orthogonal(rows, cols, budget / size, seed=seed, exact=True)
    assert np.count_nonzero(matrix.toarray()) == info.nonzeros == budget
    assert residual(matrix) < 1e-12


def reachable(rows, cols):
    """All numbers of nonzeros that rotations lead to, by exhaustive search over the supports of the columns."""
    start = tuple(sorted(1 << row if row < rows else 0 for row in range(cols)))
    seen, edge = {start}, [start]
    while edge:
        columns = edge.pop()
        for i, j in itertools.combinations(range(cols), 2):
            both = columns[i] | columns[j]
            following = tuple(sorted((*columns[:i], *columns[i + 1 : j], *columns[j + 1 :], both, both)))
            if following not in seen:
                seen.add(following)
                edge.append(following)
    return {sum(column.bit_count() for column in columns) for columns in seen}


@pytest.mark.parametrize(
    ("rows", "cols"), [(1, 1), (1, 4), (2, 2), (2, 3), (3, 3), (3, 4), (3, 5), (4, 4), (4, 5), (5, 5)]
)
def test_impossible_numbers_are_those_that_no_sequence_of_rotations_has(rows, cols):
    every = set(range(rows, rows * cols + 1))
    assert reachable(rows, cols) == every - set(impossible(rows, cols))


@pytest.mark.parametrize("side", [6, 7, 9])
def test_every_number_but_two_is_reached_from_six_rows_on(side):
    assert impossible(side, side) == (side + 1, side + 3)
    for count in range(side, side * side + 1):
        if count not in impossible(side, side):
            assert givens.rotate_to(side, side, count, np.random.default_rng(0), stop="exact")[0].nnz == count


USUAL = [(100, 100, 0.05), (64, 64, 0.316), (300, 784, 0.05), (784, 300, 0.1)]


@pytest.mark.parametrize(("rows", "cols", "density"), USUAL)
def test_exact_reaches_the_usual_densities(rows, cols, density):
    for seed in range(3):
        _, info = so.sparse_orthogonal(rows, cols, density, seed=seed, exact=True)
        assert info.nonzeros == round(density * rows * cols)


@pytest.mark.parametrize("count", [9999, 9998, 104, 102, 105])
def test_exact_reaches_both_ends(count):
    for seed in range(3):
        matrix, _ = givens.rotate_to(100, 100, count, np.random.default_rng(seed), stop="exact")
        assert matrix.nnz == count and residual(matrix) < 1e-12


def test_what_no_orthogonal_matrix_has_is_refused_with_the_range_when_exact():
    # A square orthogonal matrix of n + 1 nonzeros would have a row of two that overlaps another in one place.
    with pytest.raises(
        so.UserError, match="allowed: 10, 12, 14 nonzeros, or any other number from 10 to 100 but 11, 13"
    ):
        so.sparse_orthogonal(10, 10, 0.11, seed=0, exact=True)


@law
@given(SIDE, SIDE, st.floats(0, 1), st.integers(0, 3))
def test_the_nearer_side_is_the_matrix_under_the_number_or_the_next_one(rows, cols, where, seed):
    floor, size = min(rows, cols), rows * cols
    budget = floor + round(where * (size - floor))
    under, few = givens.rotate_to(rows, cols, budget, np.random.default_rng(seed))
    nearer, many = givens.rotate_to(rows, cols, budget, np.random.default_rng(seed), stop="nearer")
    assert residual(nearer) < 1e-12 and abs(nearer.nnz - budget) <= budget - under.nnz
    assert many - few in (0, 1) and (many > few) == (nearer.nnz > budget)
    if many == few and under.nnz < budget:  # then the next one is farther
        beyond, _ = replay(min(rows, cols), max(rows, cols), np.random.default_rng(seed), budget, further=True)
        assert np.count_nonzero(beyond) - budget > budget - under.nnz


@law
@given(SIDE, SIDE, st.floats(0, 1), st.integers(0, 2), st.sampled_from(["under", "nearer", "predicted", "exact"]))
def test_shuffling_permutes_and_changes_signs_only(rows, cols, where, seed, stop):
    floor, size = min(rows, cols), rows * cols
    budget = floor + round(where * (size - floor))
    if stop == "exact" and budget in impossible(rows, cols):
        return
    plain, few = givens.rotate_to(rows, cols, budget, np.random.default_rng(seed), stop=stop)
    mixed, same = givens.rotate_to(rows, cols, budget, np.random.default_rng(seed), stop=stop, shuffle=True)
    assert few == same and residual(mixed) < 1e-12
    assert (np.sort(abs(mixed.data)) == np.sort(abs(plain.data))).all()
    for axis in (0, 1):
        few, same = (np.count_nonzero(matrix.toarray(), axis=axis) for matrix in (plain, mixed))
        assert (np.sort(few) == np.sort(same)).all()


def test_shuffled_entries_are_anywhere_with_either_sign():
    made = [givens.rotate_to(4, 4, 4, np.random.default_rng(s), shuffle=True)[0].toarray() for s in range(2400)]
    hits = np.abs(made).sum(0)
    assert (
        1e-4 < stats.chi2(9).cdf(((hits - 600) ** 2 / 600).sum()) < 1 - 1e-4
    )  # 16 cells, rows and columns sum to 2400
    assert stats.binomtest(int((np.sum(made, axis=0) + hits).sum() / 2), 9600).pvalue > 1e-4
    plain = givens.rotate_to(30, 30, 100, np.random.default_rng(0))[0].toarray()
    assert plain.diagonal().all()


@pytest.mark.parametrize(("rows", "cols", "density"), [(60, 60, 0.1), (20, 70, 0.3), (70, 20, 0.05), (40, 40, 0.95)])
def test_the_predicted_number_of_rotations_meets_the_density_on_average(rows, cols, density):
    made = [so.sparse_orthogonal(rows, cols, density, seed=seed, stop="predicted")[1] for seed in range(200)]
    assert len({info.rotations for info in made}) == 1
    densities = [info.density for info in made]
    step = 2 * density * (1 - density) / (max(rows, cols) - 1)  # one rotation; the number is rounded
    assert abs(np.mean(densities) - density) < 4 * np.std(densities, ddof=1) / math.sqrt(200) + step / 2


@law
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 4))
def test_the_sparsest_have_their_number_and_hang_together(rows, cols, seed):
    matrix = sparsest(rows, cols, np.random.default_rng(seed))
    assert residual(matrix) < 1e-12 and matrix.nnz == sparsest_count(rows, cols)
    if rows == cols > 1:
        assert matrix.nnz == 4 * rows - 4
    both = np.block(
        [[np.zeros((rows, rows)), matrix.toarray() != 0], [matrix.toarray().T != 0, np.zeros((cols, cols))]]
    )
    assert connected_components(both)[0] == 1


def test_same_seed_same_matrix_and_another_seed_another():
    first, info = so.sparse_orthogonal(50, 70, 0.1, seed=7)
    again, same = so.sparse_orthogonal(50, 70, 0.1, seed=7)
    assert first.toarray().tobytes() == again.toarray().tobytes() and info == same
    assert (so.sparse_orthogonal(50, 70, 0.1, seed=8)[0] != first).nnz > 0


def test_pairs_are_uniform_and_angles_cover_the_circle():
    draws = sequence_of(5, np.random.default_rng(0))
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


@pytest.mark.parametrize(("rows", "cols"), [(20, 30), (30, 20), (1, 1), (300, 260)])
def test_matrices_made_together_are_those_made_alone(rows, cols):
    counts = [min(rows, cols) + n * rows * cols // 9 for n in range(8)]
    made = givens.rotated_arrays(rows, cols, counts, [np.random.default_rng(n) for n in range(8)])
    for n, (matrix, count) in enumerate(zip(made, counts, strict=True)):
        alone, _ = givens.rotate_to(rows, cols, count, np.random.default_rng(n))
        assert (alone.toarray() == matrix).all()


def test_memory_follows_the_nonzeros():
    peaks = []
    for density in (0.002, 0.01):
        tracemalloc.start()
        nonzeros = so.sparse_orthogonal(2048, 2048, density, seed=0)[1].nonzeros
        peaks.append(tracemalloc.get_traced_memory()[1] / nonzeros)
        tracemalloc.stop()
    assert max(peaks) < 200  # bytes a nonzero; a dense array of float64 has 4,000 and 800
