"""What a sparse orthogonal matrix costs by each method (the timing figure of Nowak, Gniecki, Szatkowski, Tabor, ICML
2024, arXiv 2406.01755, without its data: the released program has none for it).

    eoi       random Givens rotations up to the density (`linalg.givens`)
    isometry  descent within a random mask of that density from a dense orthogonal start, as `isometry` does (AI)
    sao       on a regular graph, of the degree nearest to the density (`linalg.ramanujan`)
    qr        a dense Haar distributed matrix by QR, whatever the density

All are size x size, made from nothing: masks and starts are part of the work of the method that needs them. `seconds`
is processor time of one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from sparse_ortho.bench.clock import seconds_of
from sparse_ortho.bench.setting import Setting
from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.inits.isometry import isometry
from sparse_ortho.linalg.givens import rotate_to
from sparse_ortho.linalg.haar import haar
from sparse_ortho.linalg.ramanujan import degrees, regular_orthogonal
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

RANGES = {"size": "at least 1", "density": "(0, 1]", "repeats": "at least 1"}


def matrices(
    setting: Setting,
    *,
    method: Literal["eoi", "isometry", "sao", "qr"] = "eoi",
    size: int = 128,
    density: float = 0.125,
    repeats: int = 3,
) -> dict[str, float]:
    """Seconds for one matrix, its density, and how far it is from orthogonal: max |W W^T - I|."""
    if size < 1:
        raise UserError("bench.size", "must be at least 1", found=size)
    count = budget(density, size * size, "bench.density")
    if method in ("eoi", "sao") and count < size:
        reach = f"[{1 / size:.6g}, 1]"
        raise UserError("bench.density", f"no orthogonal {size} x {size} matrix is so sparse", found=density,
                        allowed=reach)  # fmt: skip
    work = MAKE[method](setting.streams, size, count)
    matrix = np.asarray(work(), dtype=np.float64)
    return {
        "seconds": seconds_of(work, repeats),
        "density": np.count_nonzero(matrix) / matrix.size,
        "residual": float(np.abs(matrix @ matrix.T - np.eye(size)).max()),
    }


def _eoi(streams: Streams, size: int, count: int) -> Callable[[], Any]:
    return lambda: _Dense(rotate_to(size, size, count, streams("init", "matrix"))[0])


def _isometry(streams: Streams, size: int, count: int) -> Callable[[], Any]:
    probe = Probe(nn.Identity(), {"matrix": torch.empty(size, size, device="meta")})

    def make() -> Any:
        mask = np.zeros(size * size, dtype=bool)
        mask[streams("mask", "matrix").choice(size * size, count, replace=False)] = True
        return isometry(probe, {"matrix": torch.from_numpy(mask).view(size, size)}, streams)[0]["matrix"]

    return make


def _sao(streams: Streams, size: int, count: int) -> Callable[[], Any]:
    degree = min(degrees(size, size), key=lambda d: (abs(d * size - count), d))
    return lambda: regular_orthogonal(size, size, degree, streams("init", "matrix"))


def _qr(streams: Streams, size: int, count: int) -> Callable[[], Any]:
    return lambda: haar(size, size, streams("init", "matrix"))


MAKE = {"eoi": _eoi, "isometry": _isometry, "sao": _sao, "qr": _qr}


class _Dense:
    """A sparse matrix that becomes an array when numpy asks: the conversion is no part of making it."""

    def __init__(self, matrix: Any):
        self.matrix = matrix

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.matrix.toarray()
