"""Named random streams: what is drawn depends on (seed, purpose, name) only.

Everything random is drawn on the CPU by numpy from a stream of its own, so that adding a layer, changing the order of
layers, the number of threads or the device never changes what another layer draws. Each purpose may be given a fixed
seed, shared by all seeds of a cell: `Streams(seed=3, fixed={"order": 0})` shows every seed the same batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

PURPOSES = ("init", "mask", "order", "augmentation", "rewiring", "dropout", "split", "score", "measure")


def stream(seed: int, purpose: str, name: str = "") -> np.random.Generator:
    """An independent generator for `name` (a layer, an epoch) within `purpose`."""
    if purpose not in PURPOSES:
        raise ValueError(f"unknown stream purpose {purpose!r}; known: {PURPOSES}")
    entropy = hashlib.sha256(f"{int(seed)}\0{purpose}\0{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(entropy, "big")))


@dataclass(frozen=True)
class Streams:
    """The streams of one seed of one cell; `fixed` overrides the seed of single purposes."""

    seed: int
    fixed: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, purpose: str, name: str = "") -> np.random.Generator:
        return stream(self.fixed.get(purpose, self.seed), purpose, name)
