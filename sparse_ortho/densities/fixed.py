"""Fixed: layers named by the caller keep a density of their own, and the others share what is left.

    k_l = keep * N_l  for the layers that `layers` names        the others: uniform, erk or balanced of the rest

`layers` are patterns of weights' names, as in a shell, or the words `first` and `last`, which mean the ends in the
order of the network. `layers=("first", "last")` is uniform_skip. From no paper: each program has its own way to leave
some layers dense (EOI by shape, Random Pruning by name, STR by two flags), which depends on the model.
A density for each layer is written as a mapping, `layers: {name: density}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

from sparse_ortho import budgets
from sparse_ortho.errors import UserError

ORDERED = True  # counts depend on the order of the layers


def fixed(
    shapes: Mapping[str, tuple[int, ...]],
    total: int,
    *,
    layers: tuple[str, ...] = (),
    keep: float = 1.0,
    rest: Literal["balanced", "erk", "uniform"] = "uniform",
) -> dict[str, int]:
    """Counts by layer that sum to `total`; those that `layers` names keep exactly `keep`."""
    if isinstance(layers, str):
        raise UserError("densities.fixed.layers", "must be a list of patterns", found=layers)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    named: dict[str, int] = {}
    for pattern in layers:
        found = matching(pattern, list(sizes))
        if not found:
            raise UserError("densities.fixed.layers", "no maskable weight matches", found=pattern, allowed=sizes)
        named |= {name: budgets.budget(keep, sizes[name], "densities.fixed.keep") for name in found}
    ways = {"balanced": dict.fromkeys(sizes, 1), "erk": {n: sum(shape) for n, shape in shapes.items()}}
    return budgets.fill(ways.get(rest, sizes), sizes, total, named, named)


def matching(pattern: str, names: list[str]) -> list[str]:
    """The weights that a pattern or one of the two words means."""
    ends = {"first": names[:1], "last": names[-1:]}
    return ends[pattern] if pattern in ends else [name for name in names if fnmatchcase(name, pattern)]
