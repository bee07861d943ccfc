"""Exact Orthogonal Initialization (Nowak, Gniecki, Szatkowski, Tabor, ICML 2024, arXiv 2406.01755).

    linear:       W_l = gain * H_l,   H_l a sparse orthogonal matrix of the layer's density d_l;   mask_l = support
    convolution:  W_l(centre) = gain * H_l, all other taps 0,   H_l c_out x c_in of density
                  d_l,  or with more_nonzeros  min(d_l k^2, 1, sqrt(d_l)),
                  then active weights of value 0 anywhere in the kernel until the mask has density d_l

Only the counts of the incoming masks are read; positions are new. more_nonzeros is off as in the released program; the
published ResNet, VGG and EfficientNet runs turn it on, the 1000-layer ones do not.
Not from the paper: counts are met exactly (the last H at or under its count, filled up with active zeros, in linear
layers too); a layer below its floor, where no orthogonal matrix exists, takes weights from the others so that the total
stays; each group of a grouped convolution is a block of its own; the zeros come from one draw without rejection;
`shuffle` permutes the rows and columns of H and gives each a sign (`eoi@as_released`: none of these).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import torch

from sparse_ortho import budgets
from sparse_ortho.inits.blocks import Blocks, blocks_of
from sparse_ortho.linalg.convolution import delta_kernel
from sparse_ortho.linalg.givens import TOGETHER, rotated_arrays
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
    shuffle: bool = False,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights and new masks with the same total."""
    weights, moved = {}, {}
    blocks = blocks_of(probe, "eoi")
    counts = counts_with_floors(blocks, masks, {name: block.floor for name, block in blocks.items()})
    for block, group in groupby(blocks, key=blocks.__getitem__):  # a deep network has many equal layers in a row
        equal, some = list(group), max(1, TOGETHER // block.matrix_size)
        for names in (equal[n : n + some] for n in range(0, len(equal), some)):
            nonzeros = [matrix_count(block, counts[name], more_nonzeros) for name in names]
            kernels = orthogonal_kernels(block, nonzeros, [streams("init", name) for name in names], shuffle=shuffle)
            for name, kernel in zip(names, kernels, strict=True):
                mask = filled(kernel != 0, counts[name], streams("init", f"{name}/fill"))
                weights[name], moved[name] = (
                    torch.from_numpy(gain * kernel).to(probe.weights[name].dtype),
                    torch.from_numpy(mask),
                )
    return weights, moved


def counts_with_floors(
    blocks: Mapping[str, Blocks], masks: Mapping[str, torch.Tensor], floors: Mapping[str, int]
) -> dict[str, int]:
    """The counts of the masks, water-filled again where one is below its floor."""
    counts = {name: int(np.count_nonzero(masks[name].numpy())) for name in blocks}  # a tenth of torch's time
    if all(count >= floors[name] for name, count in counts.items()):
        return counts
    sizes = {name: block.size for name, block in blocks.items()}
    return budgets.fill(counts, sizes, sum(counts.values()), floors)


def matrix_count(blocks: Blocks, count: int, more_nonzeros: bool) -> int:
    """How many weights of H to ask for when the layer keeps `count`; never more than that."""
    density = count / blocks.size
    if more_nonzeros:
        density = min(count / blocks.matrix_size, 1.0, math.sqrt(density))
    return max(blocks.floor, math.floor(density * blocks.matrix_size + 0.5))


def orthogonal_kernel(blocks: Blocks, nonzeros: int, rng: np.random.Generator) -> np.ndarray:
    """A delta kernel with one sparse orthogonal matrix a group; the groups share `nonzeros` to within one."""
    return orthogonal_kernels(blocks, [nonzeros], [rng])[0]


def orthogonal_kernels(
    blocks: Blocks, nonzeros: Sequence[int], rngs: Sequence[np.random.Generator], *, shuffle: bool = False
) -> list[np.ndarray]:
    """Those of some equal layers, each with its own number and generator."""
    shares = [divmod(number, blocks.groups) for number in nonzeros]
    counts = [share + (group < left) for share, left in shares for group in range(blocks.groups)]
    each = [rng for rng in rngs for _ in range(blocks.groups)]
    matrices = rotated_arrays(blocks.rows, blocks.cols, counts, each, shuffle=shuffle)
    layers = [matrices[n : n + blocks.groups] for n in range(0, len(matrices), blocks.groups)]
    tall = [np.concatenate(layer) if len(layer) > 1 else layer[0] for layer in layers]
    return [delta_kernel(matrix, blocks.taps, blocks.axes) for matrix in tall]


def filled(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`mask` with uniformly drawn further entries, `count` in all."""
    filled = mask.copy()
    taken = np.flatnonzero(mask)
    drawn = rng.choice(mask.size - len(taken), count - len(taken), replace=False)  # places among those that are free
    # Before the n-th free place lie n free ones and all taken ones that have at most n before them.
    filled.reshape(-1)[drawn + np.searchsorted(taken - np.arange(len(taken)), drawn, side="right")] = True
    return filled
