"""Integer budgets: how many weights a density means, and how layers share them exactly.

    k(density, N) = max(1, floor(density * N + 1/2))        in exact decimals, never in binary floats

`fill` is water-filling: find eps with  sum_l clip(eps * share_l, floor_l, size_l) = total,  then round by largest
remainder; a ceiling takes the place of the size. With share_l = N_l it is the uniform scheme, with share_l = N_l * (sum
of shape / product of shape) ERK together with its published redistribution of layers that would pass density 1. The
level is solved in rationals: a bisection in floats moves a weight to another layer once a share passes about 1e7.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from sparse_ortho.errors import UserError

Shape = tuple[int, ...]


def budget(density: float | str | Decimal, size: int, where: str = "density") -> int:
    """The number of weights that `density` keeps of `size`."""
    try:
        exact = Decimal(str(density))
    except InvalidOperation:
        exact = Decimal("NaN")
    if not exact.is_finite() or not 0 < exact <= 1:
        raise UserError(where, "out of range", found=density, allowed="(0, 1]")
    return max(1, math.floor(Fraction(exact) * size + Fraction(1, 2)))


def floor_of(kind: str, shape: Shape) -> int:
    """The fewest weights that a layer must keep for an initialisation to exist at all.

    "orthogonal": a matrix with orthonormal rows (or columns) needs one nonzero in each of its min(rows, cols) of them;
    a convolution is such a matrix in its middle tap. Groups cannot be seen in a shape (c_out, c_in / groups, k, k): for
    a grouped convolution this is a lower bound, and the initialisation, which sees the layer, has the floor itself.
    """
    if kind == "none":
        return 0
    if kind == "orthogonal":
        return min(shape[0], math.prod(shape[1:]) if len(shape) == 2 else shape[1])
    raise ValueError(f"unknown floor kind {kind!r}")


def fill(
    shares: Mapping[str, float],
    sizes: Mapping[str, int],
    total: int,
    floors: Mapping[str, int] | None = None,
    ceilings: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Counts that sum to `total`, proportional to `shares` where neither floor nor ceiling (or size) binds."""
    low = {name: floors.get(name, 0) if floors else 0 for name in sizes}
    high = {name: ceilings.get(name, size) if ceilings else size for name, size in sizes.items()}
    least, most, size = sum(low.values()), sum(high.values()), sum(sizes.values())
    if not least <= total <= most:
        raise UserError(
            "density",
            f"{total} of {size} weights are out of reach for these layers",
            found=float(f"{total / size:.6g}"),
            allowed=f"[{least / size:.6g}, {most / size:.6g}] ({least} to {most} weights)",
        )
    for name in sizes:
        if not (math.isfinite(shares[name]) and shares[name] >= 0):
            raise UserError(name, "the share of a layer must be a number of at least 0", found=shares[name])
    wanted = _levels({name: Fraction(float(shares[name])) for name in sizes}, high, low, total)
    counts = {name: math.floor(value) for name, value in wanted.items()}
    # The sort is stable: of equal remainders the first layer gets the weight.
    order = sorted(sizes, key=lambda name: counts[name] - wanted[name])
    for name in order[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def _levels(
    shares: Mapping[str, Fraction], high: Mapping[str, int], low: Mapping[str, int], total: int
) -> dict[str, Fraction]:
    """The rational solution of the water-filling equation."""

    def level(eps: Fraction) -> dict[str, Fraction]:
        return {name: min(Fraction(high[name]), max(Fraction(low[name]), eps * shares[name])) for name in high}

    def used(eps: Fraction) -> Fraction:
        return sum(level(eps).values(), Fraction(0))

    # The sum is piecewise linear in eps; it bends where a layer leaves its floor and where it meets its size.
    edges = {Fraction(edge) / shares[name] for name in high if shares[name] > 0 for edge in (low[name], high[name])}
    bends = sorted(edges | {Fraction(0)})
    index = bisect_left(bends, total, key=used)
    if index == len(bends):  # layers without a share must take what the others cannot
        full = level(bends[-1])
        room = {name: high[name] - low[name] if shares[name] == 0 else 0 for name in high}
        scale = (total - sum(full.values(), Fraction(0))) / sum(room.values())
        return {name: full[name] + scale * room[name] for name in high}
    if index == 0:
        return level(bends[0])
    below, above = bends[index - 1], bends[index]
    return level(below + (above - below) * (total - used(below)) / (used(above) - used(below)))
