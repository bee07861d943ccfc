"""Exact Orthogonal Initialization (Nowak, Gniecki, Szatkowski, Tabor, ICML 2024, arXiv 2406.01755).

    W_l = gain * Q_l,   Q_l a sparse orthogonal matrix with the layer's density;   mask_l = support of W_l

Only the counts of the incoming masks are read; positions are new. Not from the paper: counts are met exactly (the last
matrix at or under the count, filled up with active weights of value 0 at uniformly random positions), and a layer below
min(rows, columns), where no orthogonal matrix exists, takes weights from the others so that the total stays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sparse_ortho import budgets
from sparse_ortho.errors import UserError
from sparse_ortho.linalg.givens import rotate_to
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

FLOOR = "orthogonal"


def eoi(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, *, gain: float = 1.0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights and new masks with the same total."""
    for name, shape in probe.shapes.items():
        if len(shape) != 2:
            raise UserError(name, "eoi initialises linear layers only, this one is a convolution", found=shape)
    weights, moved = {}, {}
    for name, count in counts_with_floors(probe.shapes, masks).items():
        rows, cols = probe.shapes[name]
        matrix, _ = rotate_to(rows, cols, count, streams("init", name))
        mask = np.zeros((rows, cols), dtype=bool)
        mask[matrix.nonzero()] = True
        closed = np.flatnonzero(~mask)
        extra = streams("init", f"{name}/fill").choice(closed, count - matrix.nnz, replace=False)
        mask.reshape(-1)[extra] = True
        weights[name] = torch.from_numpy(gain * matrix.toarray()).float()
        moved[name] = torch.from_numpy(mask)
    return weights, moved


def counts_with_floors(shapes: Mapping[str, tuple[int, ...]], masks: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """The counts of the masks, water-filled again where one is below its floor (else eps = 1: nothing moves)."""
    counts = {name: int(masks[name].count_nonzero()) for name in shapes}
    sizes = {name: masks[name].numel() for name in shapes}
    floors = {name: budgets.floor_of(FLOOR, shape) for name, shape in shapes.items()}
    return budgets.fill(counts, sizes, sum(counts.values()), floors)
