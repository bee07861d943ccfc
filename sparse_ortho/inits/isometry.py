"""Approximate isometry, AI (Lee, Ajanthan, Gould, Torr, "A Signal Propagation Perspective for Pruning Neural Networks
at Initialization", ICLR 2020, arXiv 1906.06307).

    min over active weights  sum_l ||C_l C_l^T - gain^2 I||_F  (tall: C_l^T C_l),   C_l = W_l * mask_l, c_out x the rest

by gradient descent from a dense start; masks stay and no data is read. A convolution is its flattened matrix, not its
operator. What remains is at least sqrt(rows that no matching of the mask covers); at density 0.05 descent from an
orthogonal 100 x 100 start ends with 4 to 11 singular values of 0 where 0 to 3 are forced, and with 1 for all others.

`isometry` descends on the squared norms, which have the same minima, and stops a layer on its plateau: after 300 steps
it is where the released descent is after 10,000 (100 x 100 at density 0.5: 0.23 to 0.33 and 0.20). Each group of a
grouped convolution is a block. `isometry@as_released` takes the gradient of the un-squared norms, whose length does not
vanish at the minimum: it circles it at a loss of up to 4 * lr a layer, and takes an exactly orthogonal start there too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch

from sparse_ortho.inits.blocks import groups_of
from sparse_ortho.inits.kaiming import kaiming
from sparse_ortho.inits.orthogonal import orthogonal
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

RATE = 0.75  # a singular value s becomes s - RATE s (s^2 - 1): stable for s^2 < 3.67
LARGEST = 3.0  # s^2 of a start; masking an orthogonal one gives at most 2.6, Kaiming 8, which would diverge
CHECK = 25  # steps between two looks at the plateau
PLATEAU = 1e-3  # relative decrease under which it is one


def isometry(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.0,
    start: Literal["orthogonal", "kaiming"] = "orthogonal",
    steps: int = 300,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights moved towards isometry, and the masks as they were."""
    groups = groups_of(probe.model)
    weights = _start(start, probe, masks, streams, gain)
    for name, weight in weights.items():
        flat, mask = _wide(weight, groups.get(name, 1)), _wide(masks[name], groups.get(name, 1)).float()
        weights[name] = _like(_descend(flat * (mask / gain), mask, steps) * gain, weight)
    return weights, dict(masks)


def _descend(flat: torch.Tensor, mask: torch.Tensor, steps: int) -> torch.Tensor:
    """Minimise ||C C^T - I||_F^2 of each block; blocks x rows x cols, rows <= cols."""
    flat = flat * (math.sqrt(LARGEST) / torch.linalg.matrix_norm(flat, 2).clamp(min=math.sqrt(LARGEST))).view(-1, 1, 1)
    before = math.inf
    for step in range(steps):
        error = _error(flat, 1.0)
        if step % CHECK == 0:
            now = float(torch.linalg.matrix_norm(error).sum())
            if now > (1 - PLATEAU) * before:
                break
            before = now
        flat = flat - (RATE * mask) * (error @ flat)
    return flat


def isometry_as_released(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.0,
    start: Literal["orthogonal", "kaiming"] = "orthogonal",
    steps: int = 10000,
    lr: float = 0.1,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Plain descent with a constant step, groups flattened together."""
    weights = _start(start, probe, masks, streams, gain)
    for name, weight in weights.items():
        mask = _wide(masks[name], 1).float()
        flat = _wide(weight, 1) * mask
        for _ in range(steps):
            error = _error(flat, gain)
            gradient = error @ flat * (2 / torch.linalg.matrix_norm(error).clamp(min=1e-30)).view(-1, 1, 1)
            flat = flat - lr * gradient * mask
        weights[name] = _like(flat, weight)
    return weights, dict(masks)


def _start(
    name: str, probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, gain: float
) -> dict[str, torch.Tensor]:
    """The dense weights of the same seed, so that rows with and without AI differ in AI alone."""
    return (kaiming(probe, masks, streams) if name == "kaiming" else orthogonal(probe, masks, streams, gain=gain))[0]


def _error(flat: torch.Tensor, gain: float) -> torch.Tensor:
    return flat @ flat.mT - gain**2 * torch.eye(flat.shape[1])


def _wide(tensor: torch.Tensor, groups: int) -> torch.Tensor:
    """blocks x rows x cols, turned so that rows <= cols."""
    flat = tensor.reshape(groups, len(tensor) // groups, -1)
    return flat if flat.shape[1] <= flat.shape[2] else flat.mT


def _like(flat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    rows = len(weight) // len(flat)
    return (flat if flat.shape[1] == rows else flat.mT).reshape(weight.shape)
