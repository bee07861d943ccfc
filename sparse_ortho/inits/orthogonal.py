"""Dense orthogonal initialisation (Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in
deep linear neural networks", ICLR 2014, arXiv 1312.6120).

    Q R = G,  G Gaussian;   W = gain * Q diag(sign R_ii)

The signs make Q Haar distributed (Mezzadri 2007). Orthonormal rows if rows <= columns, else orthonormal columns; masks
are not read, so a sparse layer is orthogonal only before it is masked.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def orthogonal(
    probe: Probe, masks: Mapping[str, torch.Tensor], streams: Streams, *, gain: float = 1.0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and the masks as they were."""
    weights = {}
    for name, shape in probe.shapes.items():
        if len(shape) != 2:
            raise UserError(name, "orthogonal initialises linear layers only, this one is a convolution", found=shape)
        weights[name] = torch.from_numpy(gain * haar(*shape, streams("init", name))).float()
    return weights, dict(masks)


def haar(rows: int, cols: int, rng: np.random.Generator) -> np.ndarray:
    """A uniformly random matrix with orthonormal rows, or columns if it is tall."""
    q, r = np.linalg.qr(rng.standard_normal((max(rows, cols), min(rows, cols))))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(q if rows >= cols else q.T)
