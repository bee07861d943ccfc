"""The largest weights, all layers together or each layer its part of them: what rules keep that hold dense weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sparse_ortho.budgets import fill
from sparse_ortho.rewiring.layer import finite
from sparse_ortho.rewiring.ranking import best

Marks = dict[str, torch.Tensor]


def largest(
    weights: Mapping[str, torch.Tensor],
    total: int,
    among: Mapping[str, torch.Tensor],
    sizes: Mapping[str, int],
    scope: str,
) -> Marks:
    """Exactly `total` places; `sizes` is how many each layer has among which to choose. Of equals the first ones."""
    magnitudes = {name: finite(weight.detach().abs()) for name, weight in weights.items()}
    return best(magnitudes, total if scope == "global" else evenly(sizes, total), among)


def evenly(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Every layer the same fraction of its places, exact in sum."""
    return fill({name: float(size) for name, size in sizes.items()}, sizes, total)
