"""How wide a random network must be: bounds, the exact probability, and random networks (learned/theory.py).

For a target of `layers` layers with `weights` weights each, at one density of all links: the largest width factor of T1
and how often so wide a source fails, by the formula and in `draws` drawn ones; the smallest factor, the same for all
layers, that fails no more often than `delta`, exactly; T2 for `weights` outputs; T3.
"""

from __future__ import annotations

from sparse_ortho.bench.setting import Setting
from sparse_ortho.errors import UserError
from sparse_ortho.learned.theory import coverage, covered, lower_bound, strong_factor, whole_widths

RANGES = {"layers": "at least 1", "weights": "at least 1", "draws": "at least 1", "density": "(0, 1]"}


def widths(
    setting: Setting,
    *,
    density: float = 0.5,
    layers: int = 3,
    weights: int = 20,
    delta: float = 0.1,
    epsilon: float = 0.01,
    draws: int = 200,
) -> dict[str, float]:
    """sufficient, necessary, smallest, strong: width factors; failures, failures_exact: probabilities."""
    for name, value in (("layers", layers), ("weights", weights), ("draws", draws)):
        if value < 1:
            raise UserError(f"bench.{name}", "must be at least 1", found=value)
    p, m = [density] * layers, [weights] * layers
    copies = whole_widths(p, m, delta)
    rng = setting.streams("mask", f"widths/{density}")
    held = sum(covered(p, m, copies, rng) for _ in range(draws))
    return {
        "sufficient": float(copies[0]),
        "smallest": float(smallest(density, layers, weights, delta)),
        "necessary": lower_bound(density, weights, delta),
        "strong": copies[0] * strong_factor(layers * weights, delta, epsilon),
        "failures": 1 - held / draws,
        "failures_exact": 1 - coverage(p, m, copies),
        "delta": delta,
    }


def smallest(density: float, layers: int, weights: int, delta: float) -> int:
    """One factor for the inputs and all hidden layers; the outputs stand for themselves."""
    factor = 1
    while coverage([density] * layers, [weights] * layers, [factor] * layers + [1]) < 1 - delta:
        factor += 1
    return factor
