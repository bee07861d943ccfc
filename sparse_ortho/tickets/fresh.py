"""Streams of a level of its own: what a level draws is neither what the start drew nor what another level draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparse_ortho.streams import Streams


@dataclass(frozen=True)
class LevelStreams(Streams):
    level: int = 0

    def __call__(self, purpose: str, name: str = "") -> np.random.Generator:
        return super().__call__(purpose, f"level{self.level}/{name}")


def of_level(streams: Streams, level: int) -> LevelStreams:
    return LevelStreams(streams.seed, streams.fixed, level)
