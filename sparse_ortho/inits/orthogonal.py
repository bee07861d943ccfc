"""Dense orthogonal initialisation (Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in
deep linear neural networks", ICLR 2014, arXiv 1312.6120; convolutions: Xiao et al., ICML 2018, arXiv 1806.05393).

    linear: W = gain * Q,  Q Haar distributed;   convolution: gain * kernel, "block" (alg. 1) or "delta" (alg. 2),
    or "eco" (Yu et al., ICLR 2022, see `linalg.eco`), or "delta_eco": where eco is not orthogonal, delta

Orthonormal rows if rows <= columns, else orthonormal columns; masks are not read, so a sparse layer is orthogonal only
before it is masked. "block" is the default because a delta kernel limits scores that read weights to the middle taps.
Not from the papers: each group of a grouped convolution is a block of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch

from sparse_ortho.inits.blocks import Blocks, blocks_of
from sparse_ortho.inits.wrapped import convolutions_of, kernel_of
from sparse_ortho.linalg.convolution import block_kernel
from sparse_ortho.linalg.haar import haar
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def orthogonal(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.0,
    kernel: Literal["block", "delta", "eco", "delta_eco"] = "block",
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    weights, modules = {}, convolutions_of(probe.model)
    for name, blocks in blocks_of(probe, "orthogonal").items():
        rng, module = streams("init", name), modules.get(name)
        drawn = np.concatenate([_draw(name, blocks, module, kernel, rng) for _ in range(blocks.groups)])
        weights[name] = torch.from_numpy(gain * drawn).to(probe.weights[name].dtype)
    return weights, dict(masks)


def _draw(name: str, blocks: Blocks, module: Any, kernel: str, rng: np.random.Generator) -> np.ndarray:
    if kernel == "block":
        return block_kernel(blocks.rows, blocks.cols, blocks.taps, blocks.axes, rng)
    return kernel_of(name, blocks, module, kernel, lambda rows, cols: haar(rows, cols, rng))
