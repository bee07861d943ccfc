"""Exact Orthogonal Initialization (Nowak, Gniecki, Szatkowski, Tabor, ICML 2024, arXiv 2406.01755).

    linear:       W_l = gain * H_l,   H_l a sparse orthogonal matrix of the layer's density d_l;   mask_l = support
    convolution:  W_l(centre) = gain * H_l, all other taps 0,   H_l c_out x c_in of density
                  d_l,  or with more_nonzeros  min(d_l k^2, 1, sqrt(d_l)),
                  then active weights of value 0 anywhere in the kernel until the mask has density d_l

Only the counts of the incoming masks are read; positions are new. more_nonzeros is off as in the released program; the
published ResNet, VGG and EfficientNet runs turn it on, the 1000-layer ones do not.
Not from the paper: counts are met exactly (the last H at or under its count, filled up with active zeros, in linear
layers too); a layer below its floor, where no orthogonal matrix exists, takes weights from the others so that the total
stays; each group of a grouped convolution is a block of its own; the zeros come from one draw without rejection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from sparse_ortho import budgets
from sparse_ortho.inits.blocks import Blocks, blocks_of
from sparse_ortho.linalg.convolution import delta_kernel
from sparse_ortho.linalg.givens import rotate_to
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

FLOOR = "orthogonal"


def eoi(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.0,
    more_nonzeros: bool = False,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights and new masks with the same total."""
    weights, moved = {}, {}
    blocks = blocks_of(probe, "eoi")
    for name, count in counts_with_floors(blocks, masks).items():
        nonzeros = matrix_count(blocks[name], count, more_nonzeros)
        kernel = orthogonal_kernel(blocks[name], nonzeros, streams("init", name))
        mask = kernel != 0
        closed = np.flatnonzero(~mask)
        extra = count - np.count_nonzero(mask)
        mask.reshape(-1)[streams("init", f"{name}/fill").choice(closed, extra, replace=False)] = True
        weights[name] = torch.from_numpy(gain * kernel).float()
        moved[name] = torch.from_numpy(mask)
    return weights, moved


def counts_with_floors(blocks: Mapping[str, Blocks], masks: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """The counts of the masks, water-filled again where one is below its floor (else eps = 1: nothing moves)."""
    counts = {name: int(masks[name].count_nonzero()) for name in blocks}
    sizes = {name: block.size for name, block in blocks.items()}
    floors = {name: block.floor for name, block in blocks.items()}
    return budgets.fill(counts, sizes, sum(counts.values()), floors)


def matrix_count(blocks: Blocks, count: int, more_nonzeros: bool) -> int:
    """How many weights of H to ask for when the layer keeps `count`; never more than that."""
    density = count / blocks.size
    if more_nonzeros:
        density = min(count / blocks.matrix_size, 1.0, math.sqrt(density))
    return max(blocks.floor, math.floor(density * blocks.matrix_size + 0.5))


def orthogonal_kernel(blocks: Blocks, nonzeros: int, rng: np.random.Generator) -> np.ndarray:
    """A delta kernel with one sparse orthogonal matrix a group; the groups share `nonzeros` to within one."""
    share, left = divmod(nonzeros, blocks.groups)
    counts = [share + (group < left) for group in range(blocks.groups)]
    matrices = [rotate_to(blocks.rows, blocks.cols, count, rng)[0].toarray() for count in counts]
    return np.concatenate([delta_kernel(matrix, blocks.taps, blocks.axes) for matrix in matrices])
