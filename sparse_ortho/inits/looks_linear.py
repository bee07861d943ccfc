"""Looks-linear initialisation (Balduzzi, Frean, Leary, Lewis, Ma, McWilliams, "The Shattered Gradients Problem", ICML
2017, arXiv 1702.08591), with sparse orthogonal matrices.

    first layer:  gain * [M; -M],   middle:  gain * [M, -M; -M, M],   last:  gain * [M, -M]

With relu between layers z travels as (relu(z), relu(-z)), so the network is the product of its M, and dynamical
isometry holds for relu too. M is sparse orthogonal by random rotations (`linalg.givens`) with as many nonzeros as the
layer's count allows, a fourth or half of it; active zeros make up the rest. A convolution has M in its middle tap.

For plain networks: sides that are mirrored must be even, and a sum of two branches keeps the form only if both do.
Masks are new, with the same total. Not from the paper: the sparse M; depthwise convolutions, which are +1 in the middle
(a negative one would exchange z and -z; other groups are refused); "first" and "last" are those of the module order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.inits.blocks import Blocks, blocks_of
from sparse_ortho.inits.eoi import counts_with_floors, filled
from sparse_ortho.linalg.convolution import delta_kernel
from sparse_ortho.linalg.givens import rotated_arrays
from sparse_ortho.masks import maskable
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

FLOOR = "orthogonal"  # this method needs twice that in the middle, and says so itself


@dataclass(frozen=True)
class Mirror:
    """How often M, rows x cols, stands below and beside itself."""

    rows: int
    cols: int
    below: int
    beside: int

    @property
    def floor(self) -> int:
        return min(self.rows, self.cols) * self.below * self.beside

    def of(self, matrix: np.ndarray) -> np.ndarray:
        signs = np.array([[1.0, -1.0], [-1.0, 1.0]])[: self.below, : self.beside]
        return np.kron(signs, matrix)


def looks_linear(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, *, gain: float = 1.0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights and new masks with the same total."""
    weights, moved = {}, {}
    blocks, order = blocks_of(probe, "looks_linear"), list(maskable(probe.model))
    mirrors = {n: _mirror(n, block, n != order[-1], n != order[0]) for n, block in blocks.items()}
    floors = {n: blocks[n].floor if blocks[n].groups > 1 else mirror.floor for n, mirror in mirrors.items()}
    for name, count in counts_with_floors(blocks, masks, floors).items():
        block, mirror = blocks[name], mirrors[name]
        if block.groups > 1:
            matrix = np.ones((block.groups, 1))
        else:
            nonzeros = count * block.matrix_size // block.size // (mirror.below * mirror.beside)
            nonzeros = max(nonzeros, min(mirror.rows, mirror.cols))
            matrix = mirror.of(rotated_arrays(mirror.rows, mirror.cols, [nonzeros], [streams("init", name)])[0])
        kernel = delta_kernel(matrix, block.taps, block.axes)
        weights[name] = torch.from_numpy(gain * kernel).to(probe.weights[name].dtype)
        moved[name] = torch.from_numpy(filled(kernel != 0, count, streams("init", f"{name}/fill")))
    return weights, moved


def _mirror(name: str, block: Blocks, out: bool, into: bool) -> Mirror:
    """`out`: the outputs come as (z, -z); `into`: the inputs do."""
    if block.groups > 1 and (block.rows, block.cols) != (1, 1):
        raise UserError(name, "looks_linear knows no groups but depthwise ones", found=block.groups)
    if block.groups == 1 and ((out and block.rows % 2) or (into and block.cols % 2)):
        raise UserError(
            name,
            "looks_linear mirrors the sides between layers, which must be even",
            found=f"{block.rows} x {block.cols}",
        )
    below, beside = 1 + out, 1 + into
    return Mirror(block.rows // below, block.cols // beside, below, beside)
