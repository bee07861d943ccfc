"""How far criteria agree: the masks that each would leave after the drop of an update, and their overlap in pairs.

    J(A, B) = |A and B| / |A or B|        over all layers together (Jaccard)

As in the program of Nowak et al. (ICML 2024, `--jaccard`) the criteria are SNIP, MEST, reciprocal sensitivity,
magnitude, SET and random, each dropping the counts of the update; `own` is what has been dropped in truth.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch

from sparse_ortho.rewiring import drops, gradient_drops
from sparse_ortho.rewiring.counting import numbers
from sparse_ortho.rewiring.drops import Counts, Drop, Layers

CRITERIA: dict[str, Drop] = {
    "magnitude": drops.magnitude,
    "mest": gradient_drops.mest,
    "random": drops.random,
    "reciprocal_sensitivity": gradient_drops.reciprocal_sensitivity,
    "set": drops.signed,
    "snip": gradient_drops.snip,
}


def overlaps(layers: Layers, counts: Counts, gone: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """{"magnitude|mest": J, ...} of every pair, names in alphabetical order."""
    left = {"own": {name: layer.mask & ~gone[name] for name, layer in layers.items()}}
    for criterion, drop in CRITERIA.items():
        found = drop(layers, counts, {})
        if criterion != "set":
            found = drops.lowest(layers, found, counts)
        left[criterion] = {name: layer.mask & ~found[name] for name, layer in layers.items()}
    sizes = {}
    for one, other in itertools.combinations(sorted(left), 2):
        pairs = [(left[one][name], left[other][name]) for name in layers]
        sizes[f"{one}|{other}"] = torch.stack([(a & b).sum() for a, b in pairs]).sum()
        sizes[f"{one}+{other}"] = torch.stack([(a | b).sum() for a, b in pairs]).sum()
    found = numbers(sizes)
    union = {pair: found[pair.replace("|", "+")] for pair in found if "|" in pair}
    return {pair: found[pair] / size if size else 1.0 for pair, size in union.items()}
