"""Sparsity-aware orthogonal initialisation, SAO (Esguerra, Nasir, Tang, Tumian, Ho, IEEE Access 2023, doi
10.1109/ACCESS.2023.3295344).

    linear:       W_l = gain * M_l,  M_l orthogonal with D nonzeros in every row of its wide orientation
    convolution:  W_l(centre) = gain * M_l, all other taps 0;  the mask keeps or removes whole kernels
    relu:         W_l = gain * [M, -M; -M, M],  M of half the size and half the degree (looks-linear)

Positions are new. A layer that the incoming mask keeps whole is dense orthogonal, without relu's form, as the released
program treats the first and the last layer: `mask: uniform_skip` says the same. In the others D is `degree`, or the one
whose count is nearest to the mask's (of two the smaller). So the density is D / max(rows, cols) and comes in steps: the
number of weights asked for is met exactly only if it is one of them.

Not from the paper: kernels of any odd size; each group of a grouped convolution is a block of its own; D has to divide
(see `linalg.ramanujan`), else the layer is refused with the degrees that it has. The released program also replaces the
orthogonal values by Gaussian ones (RG-N) and initialises in the Fourier domain (ECO); neither is used in a table.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.inits.blocks import Blocks, blocks_of
from sparse_ortho.linalg.convolution import delta_kernel
from sparse_ortho.linalg.haar import haar
from sparse_ortho.linalg.ramanujan import degrees, looks_linear, regular_orthogonal
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

UNIT = "degree"  # budgets are met to the nearest degree


def sao(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.0,
    degree: int | None = None,
    relu: bool = False,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and masks with a regular graph in every layer."""
    weights, moved = {}, {}
    blocks = blocks_of(probe, "sao")
    chosen = {name: _degree(name, block, masks[name], degree, relu) for name, block in blocks.items()}
    for name, block in blocks.items():
        rng = streams("init", name)
        matrix = np.concatenate([_matrix(block, chosen[name], relu, rng) for _ in range(block.groups)])
        weights[name] = torch.from_numpy(gain * delta_kernel(matrix, block.taps, block.axes)).float()
        moved[name] = torch.from_numpy(block.whole_kernels(matrix != 0))
    return weights, moved


def _degree(name: str, block: Blocks, mask: torch.Tensor, degree: int | None, relu: bool) -> int | None:
    """The degree of a layer, None for a dense one."""
    count, fold = int(mask.count_nonzero()), 2 if relu else 1
    if count == block.size:
        return None
    sides = f"{block.rows} x {block.cols}"
    if block.rows % fold or block.cols % fold:
        raise UserError(name, "sao with relu needs even sides, or a mask that keeps the layer whole", found=sides)
    have = [fold * half for half in degrees(block.rows // fold, block.cols // fold)]
    if degree is None:
        wide = max(block.rows, block.cols)
        return min(have, key=lambda d: (abs(d * block.size - count * wide), d))
    if degree not in have:
        raise UserError(
            name,
            f"{sides} cannot have this many weights along the longer side and equally many along the other; or keep "
            "the layer whole, as mask: uniform_skip does with the first and the last",
            found=degree,
            allowed=", ".join(map(str, have)),
        )
    return degree


def _matrix(block: Blocks, degree: int | None, relu: bool, rng: np.random.Generator) -> np.ndarray:
    if degree is None:
        return haar(block.rows, block.cols, rng)
    if relu:
        return looks_linear(regular_orthogonal(block.rows // 2, block.cols // 2, degree // 2, rng))
    return regular_orthogonal(block.rows, block.cols, degree, rng)
