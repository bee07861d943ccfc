"""What a table says about a few seeds: mean with a 95 % t-interval, Welch's comparison, Holm's correction.

Sums are `math.fsum`, so nothing depends on the order of the runs. scipy.special instead of scipy.stats: the same
t-distribution, and a table starts a second earlier.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """`n` of `planned` runs gave a value; a spread needs two of them, a mean one."""

    n: int
    planned: int
    mean: float | None
    half_width: float | None
    std: float | None


@dataclass(frozen=True)
class Difference:
    """mean(a) - mean(b) with its interval and two-sided p-value; None where a side has fewer than two values."""

    mean: float | None
    low: float | None
    high: float | None
    p: float | None


def summary(values: Iterable[float | None], planned: int) -> Summary:
    """Mean and half-width of the 95 % t-interval of the runs that finished; an absent or non-finite value did not."""
    finished = _finite(values)
    n = len(finished)
    if n == 0:
        return Summary(0, planned, None, None, None)
    mean, variance = _moments(finished)
    if variance is None:
        return Summary(n, planned, mean, None, None)
    half_width = quantile(n - 1) * math.sqrt(variance / n)
    return Summary(n, planned, mean, half_width, math.sqrt(variance))


def difference(a: Iterable[float | None], b: Iterable[float | None]) -> Difference:
    """Welch: the variances of `a` and `b` are not assumed equal, nor are their seeds paired.

    Where all values of either side agree there is no spread to judge by: the interval is the point, and p is 1 for
    equal means and 0 otherwise.
    """
    from scipy.special import stdtr

    left, right = _finite(a), _finite(b)
    if not left or not right:
        return Difference(None, None, None, None)
    (mean_a, var_a), (mean_b, var_b) = _moments(left), _moments(right)
    gap = mean_a - mean_b
    if var_a is None or var_b is None:
        return Difference(gap, None, None, None)
    part_a, part_b = var_a / len(left), var_b / len(right)
    error = math.sqrt(part_a + part_b)
    if error == 0:
        return Difference(gap, gap, gap, 1.0 if gap == 0 else 0.0)
    # Welch-Satterthwaite, written with shares of the variance so that tiny variances do not underflow
    share_a, share_b = part_a / (part_a + part_b), part_b / (part_a + part_b)
    freedom = 1 / (share_a**2 / (len(left) - 1) + share_b**2 / (len(right) - 1))
    reach = quantile(freedom) * error
    return Difference(gap, gap - reach, gap + reach, float(2 * stdtr(freedom, -abs(gap) / error)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: compare with the level as if each were the only test. Order is kept."""
    count = len(p_values)
    adjusted, running = [0.0] * count, 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _finite(values: Iterable[float | None]) -> list[float]:
    return [float(v) for v in values if v is not None and math.isfinite(v)]


def _moments(values: Sequence[float]) -> tuple[float, float | None]:
    mean = math.fsum(values) / len(values)
    if min(values) == max(values):  # the rounding of the mean must not look like a spread
        return float(values[0]), 0.0 if len(values) > 1 else None
    return mean, math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def quantile(freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))
