"""Main effects and two-way interactions of factors with two levels each, with 95 % t-intervals.

    y = block + sum_i b_i x_i + sum_{i<j} b_ij 2 x_i x_j + error,    x = -1/2 at the first level, +1/2 at the other

so b_i is the mean of what the factor changes, and b_ij half of how much the one changes the other's effect: each is the
mean where its sign is + less the mean where it is -. Runs of one block share everything but the factors, their seed
included: what seeds have in common is in no interval. Blocks are taken out by their means, then least squares; higher
interactions are part of the error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from sparse_ortho.report.statistics import LEVEL


@dataclass(frozen=True)
class Effect:
    """One or two factors, by their places; without an estimate where the runs cannot tell it from the others."""

    factors: tuple[int, ...]
    estimate: float | None = None
    half_width: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Fit:
    effects: tuple[Effect, ...]
    mean: float | None
    n: int
    freedom: int  # degrees of freedom of the error


def fitted(signs: Sequence[Sequence[int]], values: Sequence[float], blocks: Sequence[Hashable], factors: int) -> Fit:
    """`signs`: -1 or +1 for each of the factors, a row a run."""
    terms = [*((i,) for i in range(factors)), *itertools.combinations(range(factors), 2)]
    if not values:
        return Fit(tuple(map(Effect, terms)), None, 0, 0)
    x = np.array([[math.prod(row[i] for i in term) / 2 for term in terms] for row in signs], dtype=np.float64)
    y = np.array(values, dtype=np.float64)
    places = {block: i for i, block in enumerate(dict.fromkeys(blocks))}
    of = np.array([places[block] for block in blocks])
    x, y = _within(x, of, len(places)), _within(y[:, None], of, len(places))[:, 0]
    freedom, mean = len(values) - len(places) - len(terms), math.fsum(values) / len(values)
    if np.linalg.matrix_rank(x) < len(terms):
        return Fit(tuple(map(Effect, terms)), mean, len(values), max(freedom, 0))
    estimate = np.linalg.lstsq(x, y, rcond=None)[0]
    if freedom < 1:
        return Fit(tuple(Effect(t, float(b)) for t, b in zip(terms, estimate, strict=True)), mean, len(values), 0)
    variance = float(((y - x @ estimate) ** 2).sum()) / freedom
    errors = np.sqrt(variance * np.diagonal(np.linalg.inv(x.T @ x)))
    found = zip(terms, estimate.tolist(), errors.tolist(), strict=True)
    return Fit(tuple(_effect(*effect, freedom) for effect in found), mean, len(values), freedom)


def _effect(term: tuple[int, ...], estimate: float, error: float, freedom: int) -> Effect:
    from scipy.special import stdtr, stdtrit

    p = float(2 * stdtr(freedom, -abs(estimate) / error)) if error > 0 else float(estimate == 0)
    return Effect(term, estimate, float(stdtrit(freedom, (1 + LEVEL) / 2)) * error, p)


def _within(values: np.ndarray, of: np.ndarray, blocks: int) -> np.ndarray:
    """Each value less the mean of its block."""
    sums = np.zeros((blocks, values.shape[1]))
    np.add.at(sums, of, values)
    return values - (sums / np.bincount(of, minlength=blocks)[:, None])[of]
