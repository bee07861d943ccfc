"""What a training would cost on a machine with free sparsity, counted from the densities of its layers by epoch.

    share = 1/E sum_e sum_l (d_l(e-1) + d_l(e)) / 2 * m_l / sum_l m_l,     FLOPs = share * 2 * 3 * images * sum_l m_l

m_l: multiply-adds of layer l for one image; d_l(e): its density after epoch e; 3: forward, and backward at twice that;
images: steps times batch. As Evci et al. (RigL, ICML 2020) count, but by the masks as they were. Not counted: choosing
a mask, dense gradients that a rule grows by, latent weights, layers that tricks add. Dense kernels with masks, which is
what runs here, take the dense number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def share(curve: Sequence[Row], multiply_adds: Sequence[int]) -> float | None:
    """Of the dense network's training; None where the masks are not those of all layers."""
    lines, densities, last = sorted(curve, key=lambda line: line["epoch"]), [], [1.0] * len(multiply_adds)
    for line in lines:
        if line["layers"]:
            counts = list(json.loads(line["layers"]).values())
            if len(counts) != len(multiply_adds):
                return None
            last = [active / size for active, _, _, size in counts]
        densities.append(sum(d * m for d, m in zip(last, multiply_adds, strict=True)) / sum(multiply_adds))
    if len(densities) < 2:
        return None
    return sum((a + b) / 2 for a, b in zip(densities, densities[1:], strict=False)) / (len(densities) - 1)


def flops(part: float, steps: int, batch: int, multiply_adds: Sequence[int]) -> float:
    """The FLOPs of a training that takes this part of a dense one."""
    return part * 2 * 3 * steps * batch * sum(multiply_adds)
