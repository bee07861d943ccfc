"""Two-way analysis of variance, value ~ a + b + a:b, sequential sums of squares ("type I"), for unequal numbers.

    SS(a)   = RSS(1) - RSS(a)          SS(b | a) = RSS(a) - RSS(a + b)          SS(a:b) = RSS(a + b) - RSS(cells)
    F       = (SS / df) / MSE,   MSE = RSS(cells) / (n - rank)
    eta^2   = SS / SS_total,     omega^2 = (SS - df MSE) / (SS_total + MSE)

Degrees of freedom are ranks, so a combination that nobody measured costs the interaction one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Effect:
    name: str
    squares: float
    freedom: int
    f: float | None  # none where nothing is left to compare with
    p: float | None
    eta: float
    omega: float


def two_way(values: Sequence[float], a: Sequence[str], b: Sequence[str], names: tuple[str, str]) -> list[Effect]:
    """The effects of a, of b given a, of both together, and the residual."""
    y = np.asarray(values, dtype=float)
    one, first, second = np.ones((len(y), 1)), indicators(a), indicators(b)
    both = indicators([f"{left}\0{right}" for left, right in zip(a, b, strict=True)])
    models = [one, np.hstack([one, first]), np.hstack([one, first, second]), both]
    left, ranks = zip(*(residual(y, model) for model in models), strict=True)
    total, rest = left[0], len(y) - ranks[-1]
    mse = left[-1] / rest if rest > 0 else 0.0
    told = []
    for i, name in enumerate((*names, ":".join(names))):
        squares, freedom = max(0.0, left[i] - left[i + 1]), ranks[i + 1] - ranks[i]
        f = squares / freedom / mse if freedom and mse > 0 else None
        p = float(stats.f.sf(f, freedom, rest)) if f is not None else None
        eta = squares / total if total > 0 else 0.0
        omega = (squares - freedom * mse) / (total + mse) if total + mse > 0 else 0.0
        told.append(Effect(name, squares, freedom, f, p, eta, omega))
    return [*told, Effect("residual", left[-1], rest, None, None, left[-1] / total if total > 0 else 0.0, 0.0)]


def indicators(labels: Sequence[str]) -> np.ndarray:
    """A column of 0 and 1 for every label."""
    known = sorted(set(labels))
    return np.array([[float(label == name) for name in known] for label in labels])


def residual(y: np.ndarray, model: np.ndarray) -> tuple[float, int]:
    """Sum of squares that a linear model leaves, and its rank."""
    fitted, _, rank, _ = np.linalg.lstsq(model, y, rcond=None)
    return float(np.square(y - model @ fitted).sum()), int(rank)
