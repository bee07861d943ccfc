"""Approximate isometry, AI (Lee, Ajanthan, Gould, Torr, "A Signal Propagation Perspective for Pruning Neural Networks
at Initialization", ICLR 2020, arXiv 1906.06307).

    min over active weights  sum_l ||C_l C_l^T - gain^2 I||_F  (tall: C_l^T C_l),   C_l = W_l * mask_l, c_out x the rest

from a dense start; no data is read. A convolution is its flattened matrix, not its operator. What remains is at least
sqrt(rows that no matching of the mask covers), see `linalg.structural`.

`isometry` descends on the squared norms, which have the same minima, by Nesterov's method, begun again where the loss
grows, until the loss is under 1e-3 sqrt(rows) or on its plateau. On thin masks descent loses singular values for good:
of 24 masks (64 to 256 wide, density 0.03 to 0.2) it leaves 84 zeros that need not be. Where it does, it is done again
from the start +-0.3, then +-0.5, along a random maximum matching, which by itself is a partial isometry of the largest
rank there is; this leaves none. Not everywhere at once, because it draws the matrix towards that matching: 100 x 784 at
density 0.1 has a mean fourth moment sum_j w_ij^4 of 0.06 without it and 0.58 with it.

Each group of a grouped convolution is a block. `repair` moves mask entries where a layer cannot have full rank, two for
each missing one; otherwise masks stay, and the log says which layers fall short.

`isometry@as_released` takes the gradient of the un-squared norms, whose length does not vanish at the minimum: it
circles it at a loss of up to 4 * lr a layer, and takes an exactly orthogonal start there too.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from sparse_ortho.inits.blocks import parts_of
from sparse_ortho.inits.kaiming import kaiming
from sparse_ortho.inits.orthogonal import orthogonal
from sparse_ortho.linalg.structural import full_rank, maximum_matching
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

LOG = logging.getLogger(__name__)
ALONG = (0.0, 0.3, 0.5)  # added along the matching, one after the other until no zero is left that need not be
LARGEST = 1.4  # singular value of a start; masking an orthogonal one gives up to 1.6, Kaiming 2.8, which could diverge
RATE = 0.5  # of the descent; the curvature at an isometry is 2
CHECK = 10  # steps between two looks at the loss
CLOSE = 1e-3  # loss / sqrt(rows) at which it is small enough
PLATEAU = 1e-3  # relative decrease in that many steps under which it is one
STUCK = 0.03  # the same while a zero is left that need not be: 100 layers of 128 in 1.4 s, with 1e-3 in 1.6


def isometry(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.0,
    start: Literal["orthogonal", "kaiming"] = "orthogonal",
    steps: int = 300,
    repair: bool = False,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights moved towards isometry, and the masks as they were, or repaired."""
    groups, kept = parts_of(probe.model), dict(masks)
    weights = _start(start, probe, masks, streams, gain)
    for name, weight in weights.items():
        rng, mask = streams("init", f"{name}/matching"), _wide(masks[name], groups.get(name, 1))
        if repair:
            moves = streams("init", f"{name}/repair")
            mask = torch.from_numpy(np.stack([full_rank(block, moves, name) for block in mask.numpy()]))
            kept[name] = _like(mask, weight)
        matching = torch.from_numpy(np.stack([maximum_matching(block, rng) for block in mask.numpy()]))
        if missing := len(mask) * mask.shape[1] - int(matching.count_nonzero()):
            LOG.info("isometry: for any weights %s is %d short of full rank; repair: true moves entries", name, missing)
        flat = _wide(weight, len(mask)) * (mask / gain)
        weights[name] = _like(_solve(flat, mask.float(), matching, steps) * gain, weight)
    return weights, kept


def _solve(flat: torch.Tensor, mask: torch.Tensor, matching: torch.Tensor, steps: int) -> torch.Tensor:
    """Minimise ||C C^T - I||_F^2 of each block; blocks x rows x cols, rows <= cols."""
    rows = flat.shape[0] * flat.shape[1]
    small, bound = CLOSE * math.sqrt(rows), rows - int(matching.count_nonzero())
    best, least = flat, _loss(flat)
    if least <= small:
        return flat
    size = torch.linalg.matrix_norm(flat, 2).clamp(min=LARGEST).view(-1, 1, 1)
    for along in ALONG:
        made = _descend(
            flat * (LARGEST / size) + along * torch.copysign(matching.float(), flat), mask, steps, small, bound
        )
        if along == 0 or _loss(made) < least:
            best, least = made, _loss(made)
        if least**2 < bound + 0.5:  # a zero counts as 1
            break
    return best


def _descend(flat: torch.Tensor, mask: torch.Tensor, steps: int, small: float, bound: int) -> torch.Tensor:
    """Nesterov's accelerated gradient with restarts; the best of the points that were looked at."""
    identity, rate = torch.eye(flat.shape[1]), RATE * mask
    best, ahead, momentum = flat, flat, 1.0
    least = before = _loss(flat)
    for step in range(1, steps + 1):
        following = torch.addcmul(ahead, rate, (ahead @ ahead.mT - identity) @ ahead, value=-1)
        longer = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead, flat, momentum = torch.lerp(flat, following, 1 + (momentum - 1) / longer), following, longer
        if step % CHECK == 0 or step == steps:
            now = _loss(flat)
            if now < least:
                best, least = flat, now
            if now <= small or 0 <= before - now <= (PLATEAU if now**2 < bound + 0.5 else STUCK) * before:
                break
            if now > before:
                ahead, momentum = flat, 1.0
            before = now
    return best


def _loss(flat: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(flat @ flat.mT - torch.eye(flat.shape[1])))


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
            error = flat @ flat.mT - gain**2 * torch.eye(flat.shape[1])
            gradient = error @ flat * (2 / torch.linalg.matrix_norm(error).clamp(min=1e-30)).view(-1, 1, 1)
            flat = flat - lr * gradient * mask
        weights[name] = _like(flat, weight)
    return weights, dict(masks)


def _start(
    name: str, probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, gain: float
) -> dict[str, torch.Tensor]:
    """The dense weights of the same seed, so that rows with and without AI differ in AI alone."""
    return (kaiming(probe, masks, streams) if name == "kaiming" else orthogonal(probe, masks, streams, gain=gain))[0]


def _wide(tensor: torch.Tensor, groups: int) -> torch.Tensor:
    """blocks x rows x cols, turned so that rows <= cols."""
    flat = tensor.reshape(groups, len(tensor) // groups, -1)
    return flat if flat.shape[1] <= flat.shape[2] else flat.mT


def _like(flat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    rows = len(weight) // len(flat)
    return (flat if flat.shape[1] == rows else flat.mT).reshape(weight.shape)
