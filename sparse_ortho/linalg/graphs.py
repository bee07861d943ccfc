"""The bipartite graph of a mask: rows and columns, an edge for each active entry (Hoory, Linial, Wigderson, "Expander
graphs and their applications", Bull. Amer. Math. Soc. 43, 2006).

    B = D_r^(-1/2) M D_c^(-1/2),   D the degrees;   1 = s_1 >= s_2 >= ...,   gap = 1 - s_2

A graph that falls apart has gap 0; the complete one has gap 1. With degrees d_r of all rows and d_c of all columns it
is Ramanujan if s_2(M) <= sqrt(d_r - 1) + sqrt(d_c - 1) (Feng, Li, 1996), about the least there is in a large graph.

Rows and columns without an entry are left out: they are told as dead units, and would make every other gap 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

SLACK = 1e-9  # of singular values, which are rounded


@dataclass(frozen=True)
class Graph:
    components: int
    gap: float
    ramanujan: bool | None  # None if degrees differ, for which there is no such bound


def graph_of(mask: np.ndarray) -> Graph:
    """Facts of the graph of a boolean matrix; one without an entry has no component and gap 0."""
    mask = mask[mask.any(1)][:, mask.any(0)]
    if not mask.size:
        return Graph(0, 0.0, None)
    rows, cols = mask.sum(1), mask.sum(0)
    both = csr_array(np.block([[np.zeros((len(rows), len(rows)), bool), mask],
                               [mask.T, np.zeros((len(cols), len(cols)), bool)]]))  # fmt: skip
    components = int(connected_components(both, directed=False)[0])
    values = np.linalg.svd(mask / np.sqrt(np.outer(rows, cols)), compute_uv=False)
    second = float(values[1]) if len(values) > 1 else 0.0
    regular = np.ptp(rows) == 0 and np.ptp(cols) == 0
    bound = (math.sqrt(rows[0] - 1) + math.sqrt(cols[0] - 1)) / math.sqrt(rows[0] * cols[0])
    gap = 0.0 if components > 1 else max(0.0, 1.0 - second)
    return Graph(components, gap, bool(components == 1 and second <= bound + SLACK) if regular else None)
