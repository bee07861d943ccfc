"""How the density of a matrix grows with random rotations, in theory and in fact (the expected density of Nowak,
Gniecki, Szatkowski, Tabor, ICML 2024, arXiv 2406.01755; both formulas are in `linalg.chain`).

    E[density after t rotations]    expected: the exact chain of a row;   closed: 1 / (1 + (M - 1) exp(-2 t / (M - 1)))

at evenly spaced t from 0 to where the exact chain reaches `most`, beside the mean over `draws` matrices with its
standard error. Supports alone are followed: no number is computed.
"""

from __future__ import annotations

import math

import numpy as np

from sparse_ortho.bench.setting import Setting
from sparse_ortho.errors import UserError
from sparse_ortho.linalg.chain import density_path, expected_rotations, logistic_density
from sparse_ortho.linalg.rotations import BLOCK, Rotations, draw, supports_after

RANGES = {"rows": "at least 1", "cols": "at least 2", "draws": "at least 2", "points": "at least 2"}


def rotations(
    setting: Setting, *, rows: int = 64, cols: int = 64, draws: int = 100, points: int = 12, most: float = 0.95
) -> dict[str, float]:
    """`<quantity>/<point>` of rotations, density, error, expected and closed, at each point."""
    for name, value, least in (("rows", rows, 1), ("cols", cols, 2), ("draws", draws, 2), ("points", points, 2)):
        if value < least:
            raise UserError(f"bench.{name}", f"must be at least {least}", found=value)
    if not 1 / max(rows, cols) < most < 1:
        allowed = f"({1 / max(rows, cols):.6g}, 1)"
        raise UserError("bench.most", "must lie above the density of the identity", found=most, allowed=allowed)
    last = math.ceil(expected_rotations(rows, cols, most))
    stops = np.unique(np.linspace(0, last, points).round().astype(int))
    theory = density_path(rows, cols, last)
    rng = setting.streams("init", f"{rows}x{cols}")
    measured = np.array([_followed(rows, cols, stops, rng) for _ in range(draws)])
    found = {
        "rotations": stops,
        "density": measured.mean(0),
        "error": measured.std(0, ddof=1) / math.sqrt(draws),
        "expected": theory[stops],
        "closed": [logistic_density(rows, cols, t) for t in stops],
    }
    return {f"{name}/{at}": float(value) for name, values in found.items() for at, value in enumerate(values)}


def _followed(rows: int, cols: int, stops: np.ndarray, rng: np.random.Generator) -> list[float]:
    """The density of one matrix after each of these numbers of rotations, which ascend from 0."""
    narrow, wide = sorted((rows, cols))
    sequence = Rotations.join([draw(wide, rng) for _ in range(0, int(stops[-1]), BLOCK)])
    supports, count, found = supports_after(narrow, wide), narrow, []
    pairs = sequence.pairs()
    for before, stop in zip([0, *stops], stops, strict=False):
        for _ in range(stop - before):
            i, j = next(pairs)
            count += (supports[i] ^ supports[j]).bit_count()
            supports[i] = supports[j] = supports[i] | supports[j]
        found.append(count / (rows * cols))
    return found
