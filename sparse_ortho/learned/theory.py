"""How much wider a random network must be to hold a target network (Gadhikar, Mukherjee, Burkholz, "How Erdos and Renyi
Win the Lottery", arXiv 2210.02412). Links of the source exist with probability p_l in layer l; layer l of the target
has m_l weights that are not 0, L layers in all; q_l source units stand for each target unit of layer l.

    T1   every weight of layer l + 1 finds a link to each of the q_{l+1} copies that need it, if
         q_l >= log(L m_{l+1} q_{l+1} / delta) / log(1 / (1 - p_{l+1})),   q_L = 1,      with probability 1 - delta
    T2   a univariate target with d outputs (d weights) fails with probability delta or more, if
         q < log(1 / (1 - (1 - delta)^(1/d))) / log(1 / (1 - p))
    T3   without training weights: T1 times  C log(m / min(delta, epsilon)),  twice as deep

T1 is a union bound over m_{l+1} q_{l+1} weights with q_l chances each, all of them different links; therefore
`coverage` is no bound but the probability itself, a product over layers. C of T3 is a constant of the subset-sum
theorem that the paper does not name; 1 here, so T3 is a shape and no number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sparse_ortho.errors import UserError


def widths(densities: Sequence[float], weights: Sequence[int], delta: float) -> list[float]:
    """T1: q_0 .. q_L, real numbers; q_0 is that of the inputs."""
    _check(densities, weights, delta)
    depth, found = len(weights), [1.0]
    for p, m in zip(reversed(densities), reversed(weights), strict=True):
        found.append(1.0 if p == 1 else max(1.0, math.log(depth * m * found[-1] / delta) / -math.log1p(-p)))
    return found[::-1]


def whole_widths(densities: Sequence[float], weights: Sequence[int], delta: float) -> list[int]:
    """T1 in units: rounded up layer by layer, from the last one, since the next bound reads the rounded one."""
    _check(densities, weights, delta)
    depth, found = len(weights), [1]
    for p, m in zip(reversed(densities), reversed(weights), strict=True):
        q = 1 if p == 1 else math.ceil(math.log(depth * m * found[-1] / delta) / -math.log1p(-p))
        found.append(max(1, q))
    return found[::-1]


def coverage(densities: Sequence[float], weights: Sequence[int], copies: Sequence[int]) -> float:
    """The probability that every weight finds its links, with q_0 .. q_L copies."""
    layers = zip(densities, weights, copies, copies[1:], strict=False)
    return math.exp(math.fsum(m * below * _log1m(1 - p, above) for p, m, above, below in layers))


def lower_bound(density: float, outputs: int, delta: float) -> float:
    """T2: fewer copies than this fail with probability delta or more."""
    _check([density], [outputs], delta)
    return 1.0 if density == 1 else -math.log(-math.expm1(math.log1p(-delta) / outputs)) / -math.log1p(-density)


def strong_factor(weights: int, delta: float, epsilon: float, constant: float = 1.0) -> float:
    """T3: how many times wider than T1."""
    return max(1.0, constant * math.log(weights / min(delta, epsilon)))


def covered(density: Sequence[float], weights: Sequence[int], copies: Sequence[int], rng: np.random.Generator) -> bool:
    """Whether one random source holds a target. Of each row of links only the place of the first is drawn, which may
    lie behind its end: as many numbers as rows, where all links of a thousand weights at density 0.02 are 5e8."""
    for p, m, above, below in zip(density, weights, copies, copies[1:], strict=False):
        if rng.geometric(p, m * below).max() > above:
            return False
    return True


def _log1m(missing: float, chances: int) -> float:
    """log(1 - missing^chances)."""
    return math.log1p(-(missing**chances)) if missing < 1 else -math.inf


def _check(densities: Sequence[float], weights: Sequence[int], delta: float) -> None:
    if len(densities) != len(weights):
        raise UserError("weights", f"one number a layer, of {len(densities)} layers", found=len(weights))
    for p in densities:
        if not 0 < p <= 1:
            raise UserError("density", "out of range", found=p, allowed="(0, 1]")
    if not 0 < delta < 1:
        raise UserError("delta", "out of range", found=delta, allowed="(0, 1)")
    if min(weights, default=0) < 1:
        raise UserError("weights", "must be at least 1 each", found=list(weights))
