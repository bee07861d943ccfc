"""Exact Orthogonal Initialization as the released program makes it (of Nowak, Gniecki, Szatkowski, Tabor, ICML 2024,
arXiv 2406.01755).

    linear:       W_l = gain * H_l,  mask_l = support of H_l, which has the number of weights nearest to the layer's
    convolution:  W_l(centre) = gain * H_l,  then active weights of value 0 until the mask has the layer's number

Where it differs from `eoi`: rotations stop at the nearer side, so a linear layer has more or fewer weights than asked,
by up to half of what one rotation adds; a layer with fewer than an orthogonal matrix needs gets the identity, and the
network grows by that; a grouped convolution is one matrix of all its channels (a depthwise kernel with C channels is
C x 1, at low density one unit vector: most channels start at 0). Not from the program: the zeros come from one draw
without rejection, and biases of normalisation layers are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from sparse_ortho.inits.blocks import blocks_of
from sparse_ortho.inits.eoi import filled
from sparse_ortho.linalg.convolution import delta_kernel
from sparse_ortho.linalg.givens import rotate_to
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

UNIT = "rotation"  # budgets are met to within half of what one adds


def eoi_as_released(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.0,
    more_nonzeros: bool = False,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights and new masks, with about the same total."""
    weights, moved = {}, {}
    for name, block in blocks_of(probe, "eoi@as_released").items():
        rows, cols = block.groups * block.rows, block.cols
        count = int(masks[name].count_nonzero())
        density = count / block.size
        if more_nonzeros and block.axes:
            density = min(count / (rows * cols), 1.0, math.sqrt(density))
        nonzeros = max(density * rows * cols, min(rows, cols))
        matrix, _ = rotate_to(rows, cols, nonzeros, streams("init", name), stop="nearer")
        kernel = delta_kernel(matrix.toarray(), block.taps, block.axes)
        mask = kernel != 0
        if block.axes:
            mask = filled(mask, max(count, int(mask.sum())), streams("init", f"{name}/fill"))
        weights[name] = torch.from_numpy(gain * kernel).to(probe.weights[name].dtype)
        moved[name] = torch.from_numpy(mask)
    return weights, moved
