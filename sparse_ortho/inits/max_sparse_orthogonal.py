"""The sparsest orthogonal matrices that hang together ("max_sparse_orthogonal" in the released code of EOI; matrices of
Beasley, Brualdi, Shader, "Combinatorial orthogonality", 1993, see `linalg.sparsest`).

    linear:       W_l = gain * H_l,   H_l orthogonal, 4 n - 4 nonzeros for n x n, c + 3 r - 4 for r < c
    convolution:  W_l(centre) = gain * H_l, all other taps 0
    then active weights of value 0 anywhere in the kernel until the layer has its number

Only the counts of the incoming masks are read; positions are new. The released code makes dense weights that a mask
then cuts: at density 0.1 nine tenths of the four entries a row would go. A layer with fewer weights than H_l takes some
from the others; each group of a grouped convolution is a block.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sparse_ortho.inits.blocks import blocks_of
from sparse_ortho.inits.eoi import counts_with_floors, filled
from sparse_ortho.linalg.convolution import delta_kernel
from sparse_ortho.linalg.sparsest import sparsest, sparsest_count
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

FLOOR = "orthogonal"  # the plan's is lower, so it lets pass what this module refuses


def max_sparse_orthogonal(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, *, gain: float = 1.0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights and new masks with the same total."""
    weights, moved = {}, {}
    blocks = blocks_of(probe, "max_sparse_orthogonal")
    floors = {name: block.groups * sparsest_count(block.rows, block.cols) for name, block in blocks.items()}
    for name, count in counts_with_floors(blocks, masks, floors).items():
        block, rng = blocks[name], streams("init", name)
        matrix = np.concatenate([sparsest(block.rows, block.cols, rng).toarray() for _ in range(block.groups)])
        kernel = delta_kernel(matrix, block.taps, block.axes)
        weights[name] = torch.from_numpy(gain * kernel).to(probe.weights[name].dtype)
        moved[name] = torch.from_numpy(filled(kernel != 0, count, streams("init", f"{name}/fill")))
    return weights, moved
