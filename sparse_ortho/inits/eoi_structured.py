"""Exact Orthogonal Initialization that keeps whole kernels, "EIS" in the released program of Nowak, Gniecki,
Szatkowski, Tabor, ICML 2024 (arXiv 2406.01755).

    W_l(centre) = gain * H_l, all other taps 0,   H_l a sparse orthogonal c_out x c_in matrix of density d_l
    the mask keeps all taps of kernel (i, j) if H_l[i, j] != 0, and none otherwise

A linear layer is one tap, and so the same as in `eoi`. Only the counts of the incoming masks are read.
Not from the released program: H_l is the last one at or under its number of kernels, which kernels of value 0 fill up;
the first and the linear layers are as dense as their masks (there: dense whatever the density; `mask: uniform_skip`
says so for the first and the last). The whole network is at or under its budget, and no whole kernel would still fit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sparse_ortho import budgets
from sparse_ortho.inits.blocks import Blocks, blocks_of
from sparse_ortho.inits.eoi import orthogonal_kernel
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

FLOOR = "orthogonal"  # that many kernels; the plan counts weights, so it refuses less than this module does
UNIT = "kernel"  # budgets are met in whole kernels


def eoi_structured(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, *, gain: float = 1.0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights and masks of whole kernels."""
    weights, moved = {}, {}
    blocks = blocks_of(probe, "eoi_structured")
    for name, count in kernel_counts(blocks, masks).items():
        block = blocks[name]
        kernel = orthogonal_kernel(block, count, streams("init", name))
        kept = (kernel != 0).reshape(*kernel.shape[:2], -1).any(axis=2)
        extra = count - np.count_nonzero(kept)
        closed = np.flatnonzero(~kept)
        kept.reshape(-1)[streams("init", f"{name}/fill").choice(closed, extra, replace=False)] = True
        weights[name] = torch.from_numpy(gain * kernel).to(probe.weights[name].dtype)
        moved[name] = torch.from_numpy(block.whole_kernels(kept))
    return weights, moved


def kernel_counts(blocks: Mapping[str, Blocks], masks: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """How many kernels each layer keeps: the counts of the masks, over the floors, rounded by largest remainder."""
    counts = {name: int(masks[name].count_nonzero()) for name in blocks}
    sizes = {name: block.size for name, block in blocks.items()}
    taps = {name: block.size // block.matrix_size for name, block in blocks.items()}
    floors = {name: block.floor * taps[name] for name, block in blocks.items()}
    wanted = budgets.fill(counts, sizes, sum(counts.values()), floors)
    kernels = {name: wanted[name] // taps[name] for name in blocks}
    left = sum(wanted[name] - kernels[name] * taps[name] for name in blocks)
    order = sorted(blocks, key=lambda name: -(wanted[name] % taps[name]) / taps[name])
    while fits := [name for name in order if taps[name] <= left and kernels[name] < blocks[name].matrix_size]:
        for name in fits:
            if taps[name] <= left:
                kernels[name] += 1
                left -= taps[name]
    return kernels
