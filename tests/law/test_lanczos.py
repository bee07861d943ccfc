"""Lanczos against dense linear algebra, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from sparse_ortho.linalg.lanczos import extreme, lanczos, quadrature, trace, without

Product = Callable[[torch.Tensor], torch.Tensor]


def symmetric(values: np.ndarray, seed: int = 0) -> torch.Tensor:
    """A dense matrix with these eigenvalues and random eigenvectors."""
    random = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(random.standard_normal((len(values), len(values))))
    return torch.from_numpy(vectors * values @ vectors.T)


def fresh(size: int, seed: int = 1) -> Callable[[], torch.Tensor]:
    random = np.random.default_rng(seed)
    return lambda: torch.from_numpy(random.standard_normal(size))


def test_the_largest_and_the_smallest_eigenvalues_are_those_of_the_dense_matrix() -> None:
    values = np.concatenate([np.linspace(-1, 1, 90), [-7.0, 4.0, 5.0, 6.5, 11.0, 30.0]])
    matrix = symmetric(values)
    found = extreme(lambda v: matrix @ v, fresh(96), 5, steps=96, tolerance=1e-10)
    np.testing.assert_allclose(found.largest, [30.0, 11.0, 6.5, 5.0, 4.0], rtol=1e-9)
    assert found.smallest == pytest.approx(-7.0, rel=1e-9)
    assert found.products < 96 and found.residual <= 1e-10 * 30


def test_repeated_eigenvalues_are_found_as_often_as_they_are_there() -> None:
    """One start reaches one copy of each; a zero operator uses a direction up at every step."""
    matrix = symmetric(np.array([3.0] * 4 + [1.0] * 5 + [0.0] * 6))
    found = extreme(lambda v: matrix @ v, fresh(15), 6, steps=15, tolerance=1e-12)
    np.testing.assert_allclose(found.largest, [3, 3, 3, 3, 1, 1], atol=1e-9)
    assert extreme(lambda v: 0 * v, fresh(5), 2, steps=5).largest == [0.0, 0.0]


def test_vectors_stay_orthogonal_where_the_plain_recurrence_loses_them() -> None:
    """A huge eigenvalue converges at once, and comes back as a ghost without reorthogonalisation."""
    values = np.concatenate([np.linspace(0, 1, 198), [1e6, 2e6]])
    matrix = symmetric(values, 2)
    found = lanczos(lambda v: matrix @ v, fresh(200)(), 120).ritz()[0]
    assert int((found > 1e5).sum()) == 2


def test_quadrature_is_exact_for_polynomials_of_degree_two_m_minus_one() -> None:
    matrix = symmetric(np.linspace(-2, 3, 40), 3)
    probe = fresh(40)()
    start = probe / probe.norm()
    nodes, weights, products = quadrature(lambda v: matrix @ v, probe, 5)
    assert products == 5 and math.fsum(weights) == pytest.approx(1)
    power = start.clone()
    for degree in range(10):  # 2 m - 1 = 9
        exact = float(start @ power)
        assert math.fsum(w * t**degree for w, t in zip(weights, nodes, strict=True)) == pytest.approx(exact, abs=1e-9)
        power = matrix @ power


def test_quadrature_over_signs_has_the_trace_as_its_mean() -> None:
    """Hutchinson over all 2^n signs is exact."""
    matrix = symmetric(np.array([-1.0, 0.5, 2.0, 7.0]), 4)
    samples = []
    for number in range(16):
        signs = torch.tensor([1.0 if number >> bit & 1 else -1.0 for bit in range(4)], dtype=torch.float64)
        nodes, weights, _ = quadrature(lambda v: matrix @ v, signs, 3)
        samples.append(4 * math.fsum(w * t for w, t in zip(weights, nodes, strict=True)))
    mean, error = trace(samples)
    assert mean == pytest.approx(8.5, abs=1e-9)
    assert error == pytest.approx(np.std(samples, ddof=1) / 4)


def test_a_single_sample_has_no_standard_error() -> None:
    mean, error = trace([3.0])
    assert mean == 3.0 and math.isnan(error)


def test_what_is_left_of_a_vector_is_orthogonal_to_a_basis() -> None:
    basis = torch.linalg.qr(torch.from_numpy(np.random.default_rng(5).standard_normal((6, 3)))).Q.T
    rest = without(torch.arange(6.0, dtype=torch.float64), basis)
    torch.testing.assert_close(basis @ rest, torch.zeros(3, dtype=torch.float64), atol=1e-14, rtol=0)
