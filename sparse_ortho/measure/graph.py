"""How well the layers of a network hang together: the spectral gaps of their bipartite graphs (see `linalg.graphs`).

    gap = 1 - s_2(D_r^(-1/2) M D_c^(-1/2)),   M where the layer has an active weight, whatever its taps

A layer whose graph falls apart has gap 0, as the published sparsity-aware ones have; a random mask of the same density
has about what a random graph has. Each group of a grouped convolution is a graph of its own, and the layer counts with
its worst one. A layer without a mask is taken by its weights that are not 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sparse_ortho.linalg.graphs import Graph, graph_of
from sparse_ortho.masks import groups_of, maskable
from sparse_ortho.measure.subject import Subject


def graph(model: nn.Module, subject: Subject) -> dict[str, float]:
    """Mean and least gap of the layers, connected parts of a layer, and the share of regular layers that is Ramanujan.

    `regular` is the share of layers in which all rows, and all columns, have equally many weights.
    """
    groups = groups_of(model)
    edges = {name: subject.masks.get(name, weight.detach().ne(0)).cpu() for name, weight in maskable(model).items()}
    found = [worst_group(active, groups.get(name, 1)) for name, active in edges.items()]
    ramanujan = [one.ramanujan for one in found if one.ramanujan is not None]
    gaps = np.array([one.gap for one in found])
    return {
        "gap": float(gaps.mean()),
        "gap_min": float(gaps.min()),
        "components": float(np.mean([one.components for one in found])),
        "regular": len(ramanujan) / len(found),
        "ramanujan": float(np.mean(ramanujan)) if ramanujan else 0.0,
    }


def worst_group(active: torch.Tensor, groups: int) -> Graph:
    """The graph of the group with the least gap."""
    edges = active.reshape(*active.shape[:2], -1).any(2).numpy()
    parts = [graph_of(block) for block in np.split(edges, groups)]
    return min(parts, key=lambda one: (one.gap, -one.components))
