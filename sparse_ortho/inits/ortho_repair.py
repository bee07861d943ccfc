"""Orthogonal rows within a mask, in closed form; and the descent that a released program repairs its masks' weights by
(the program beside Gadhikar, Mukherjee, Burkholz, ICML 2023, arXiv 2210.02412: `ortho_repair`).

    C = W * mask, c_out x the rest (wide; tall: transposed)
    row i:  among unit vectors on its support S_i the one least correlated with the rows before it,
            a random vector's projection where these leave room, else the last right singular vector of C_{<i}[:, S_i]

so C C^T = I to rounding wherever each row has more weights than rows before it meet them there, and otherwise every
single step is optimal, not the whole: `isometry` descends on the whole and comes closer on thin masks. Rows are taken
from the thinnest to the fullest. A row without a weight stays 0; each group of a grouped convolution is a block.

`ortho_repair@as_released`: 1000 steps W <- W - lr * (sum of all gradients so far) * mask on ||C C^T - I||_F from
PyTorch's own weights, of the rows even where there are more rows than columns. The sum is the program's: it never
resets its gradients. Not from the program: the closed form, and groups in it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sparse_ortho.inits.blocks import parts_of
from sparse_ortho.inits.default import default
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

FULL = 1e-7  # of a projection's length under which the rows before leave no room


def ortho_repair(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, *, gain: float = 1.0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights as orthogonal as the rows' supports allow one after the other, and the masks as they were."""
    parts, weights = parts_of(probe.model), {}
    for name, shape in probe.shapes.items():
        groups, rng = parts.get(name, 1), streams("init", name)
        blocks = masks[name].numpy().reshape(groups, shape[0] // groups, -1)
        made = np.stack(
            [_rows(block, rng) if block.shape[0] <= block.shape[1] else _rows(block.T, rng).T for block in blocks]
        )
        weights[name] = torch.from_numpy(gain * made.reshape(shape)).to(probe.weights[name].dtype)
    return weights, dict(masks)


def _rows(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unit rows on the supports of `mask`, each least correlated with those before it."""
    made, done = np.zeros(mask.shape), np.zeros(len(mask), dtype=bool)
    for row in np.argsort(mask.sum(1), kind="stable"):
        support = np.flatnonzero(mask[row])
        if not len(support):
            continue
        before = made[done][:, support]
        made[row, support] = _apart(before[before.any(1)], rng.standard_normal(len(support)))
        done[row] = True
    return made


def _apart(before: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The unit vector nearest to v among those that are least correlated with the rows of `before`."""
    v = v / np.linalg.norm(v)
    if len(before) < len(v):
        span = np.linalg.qr(before.T)[0]
        for _ in range(2):  # twice is enough against rounding
            v = v - span @ (span.T @ v)
        if (length := np.linalg.norm(v)) > FULL:
            return v / length
    return np.linalg.eigh(before.T @ before)[1][:, 0]


def ortho_repair_as_released(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, *, steps: int = 1000, lr: float = 0.01
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Descent with gradients that add up."""
    weights = default(probe, masks, streams)[0]
    for name, weight in weights.items():
        mask = masks[name].flatten(1).float()
        flat, identity = weight.flatten(1) * mask, torch.eye(len(weight))
        total = torch.zeros_like(flat)
        for _ in range(steps):
            error = flat @ flat.T - identity
            total += error @ flat * (2 / torch.linalg.matrix_norm(error).clamp(min=1e-30)) * mask
            flat = flat - lr * total
        weights[name] = flat.view_as(weight)
    return weights, dict(masks)
