"""Eigenvalues of a symmetric operator that is known by its products only (Lanczos, J. Res. Nat. Bur. Standards 45,
1950; Golub, Meurant, "Matrices, Moments and Quadrature", 2010).

    H V = V T + beta_m v_m+1 e_m',   T tridiagonal (alpha, beta),   V' V = I,   v_1 the start

    Ritz pairs:  T s = theta s;   | H y - theta y | = beta_m |s_m|  for y = V s
    quadrature:  v_1' f(H) v_1 = sum_j s_1j^2 f(theta_j),  exact for polynomials of degree 2 m - 1
    trace:       E v' H v = tr H  for v of signs (Hutchinson, 1989), and v_1' H v_1 = alpha_1: it costs nothing more

Every vector is made orthogonal to all earlier ones, twice: without that, rounding brings converged eigenvalues back as
copies ("ghosts"), which a spectrum would count. Not from the papers: where the space that the start reaches is used up,
`extreme` goes on with a new direction, so that eigenvalues of any multiplicity are found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

Product = Callable[[torch.Tensor], torch.Tensor]
ENOUGH = 30  # times the rounding of the vectors' type, relatively: what is left of a vector is then none


@dataclass(frozen=True)
class Tridiagonal:
    """T in float64, beta with the one beyond the last alpha, and how often the operator was applied."""

    alpha: torch.Tensor  # (m,)
    beta: torch.Tensor  # (m,)
    products: int

    def ritz(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Eigenvalues of T, ascending, and its eigenvectors as columns."""
        inner = self.beta[:-1]
        return torch.linalg.eigh(torch.diag(self.alpha) + torch.diag(inner, 1) + torch.diag(inner, -1))

    def residuals(self, vectors: torch.Tensor) -> torch.Tensor:
        """| H y - theta y | of every Ritz pair."""
        return (self.beta[-1] * vectors[-1]).abs()


def lanczos(
    product: Product,
    start: torch.Tensor,
    steps: int,
    *,
    fresh: Callable[[], torch.Tensor] | None = None,
    enough: Callable[[Tridiagonal], bool] | None = None,
) -> Tridiagonal:
    """At most `steps` from `start`; `fresh` gives a direction where one is used up, `enough` says when to stop."""
    steps = min(steps, start.numel())
    basis = start.new_empty(steps, start.numel())
    alpha: list[float] = []
    beta: list[float] = []
    vector = start / start.norm()
    for step in range(steps):
        basis[step] = vector
        image = product(vector)
        alpha.append(float(vector.double() @ image.double()))
        rest = without(image, basis[: step + 1])
        length = float(rest.norm())
        used_up = length <= ENOUGH * torch.finfo(rest.dtype).eps * max(map(abs, [*alpha, *beta]), default=0.0)
        beta.append(0.0 if used_up else length)
        found = Tridiagonal(_double(alpha), _double(beta), step + 1)
        if step + 1 == steps or (used_up and fresh is None) or (enough is not None and enough(found)):
            return found
        if used_up and fresh is not None:
            rest = without(fresh(), basis[: step + 1])
        vector = rest / rest.norm()
    raise ValueError("an operator of no dimension has no spectrum")


def _double(numbers: list[float]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def without(vector: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Less its part in the span of the basis; the second time takes what rounding left."""
    for _ in range(2):
        vector = vector - basis.T @ (basis @ vector)
    return vector


@dataclass(frozen=True)
class Extremes:
    largest: list[float]  # descending
    smallest: float
    residual: float  # the largest of these eigenvalues' residuals
    products: int


def extreme(
    product: Product, fresh: Callable[[], torch.Tensor], count: int, *, steps: int = 100, tolerance: float = 1e-3
) -> Extremes:
    """The `count` largest eigenvalues and the smallest: until their residuals are at most `tolerance` of the largest in
    absolute value, or after `steps` products."""

    def ends(found: Tridiagonal) -> tuple[torch.Tensor, torch.Tensor]:
        values, vectors = found.ritz()
        wanted = sorted({0, *range(max(0, len(values) - count), len(values))})
        return values, found.residuals(vectors)[wanted]

    def enough(found: Tridiagonal) -> bool:
        values, residuals = ends(found)
        # Where a start was used up there are repeated eigenvalues, and no residual tells of copies still to come.
        whole = len(values) > count and bool((found.beta > 0).all())
        return whole and bool(residuals.max() <= tolerance * values.abs().max())

    found = lanczos(product, fresh(), steps, fresh=fresh, enough=enough)
    values, residuals = ends(found)
    best = values.flip(0)[:count].tolist()
    return Extremes(best, float(values[0]), float(residuals.max()), found.products)


def quadrature(product: Product, probe: torch.Tensor, steps: int) -> tuple[list[float], list[float], int]:
    """Nodes and weights of the spectrum as `probe` sees it, and the products that it took; the weights sum to 1."""
    found = lanczos(product, probe, steps)
    values, vectors = found.ritz()
    return values.tolist(), vectors[0].square().tolist(), found.products


def trace(samples: list[float]) -> tuple[float, float]:
    """Mean of Hutchinson's samples and its standard error, which one sample does not have."""
    mean = math.fsum(samples) / len(samples)
    if len(samples) < 2:
        return mean, math.nan
    spread = math.fsum((sample - mean) ** 2 for sample in samples) / (len(samples) - 1)
    return mean, math.sqrt(spread / len(samples))
