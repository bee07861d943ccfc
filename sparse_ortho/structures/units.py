"""Units: the weights that a structure keeps or removes together.

A structure numbers the units of a layer, `of` says which one each weight belongs to. What a unit is worth is the mean
score of its weights: within a layer of equal units that is the order of their sums, and where units of several sizes
compete it is the order in which a budget of weights holds the largest sum. A score that reads nothing (`random`) is
drawn once a unit, because the mean of nine draws is no uniform draw.

Structures whose units depend on scores are nested: unit j holds the j-th best weight of every place (of a row, of a
group), so a layer keeps the units 0 ... d - 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sparse_ortho.errors import UserError


@dataclass(frozen=True)
class Units:
    of: np.ndarray  # the number of each weight's unit, in the shape of the weight
    grid: tuple[int, ...]  # how the units lie to each other; their number is its product
    nested: bool = False
    keep: int | None = None  # that many units are kept, whatever the density

    @property
    def sizes(self) -> np.ndarray:
        """Weights of each unit."""
        return np.bincount(self.of.reshape(-1), minlength=math.prod(self.grid))

    def worth(self, scores: np.ndarray) -> np.ndarray:
        """The mean score of each unit, in float64; of nested ones never rising, as what comes first is kept first."""
        total = np.bincount(self.of.reshape(-1), scores.reshape(-1), math.prod(self.grid))
        mean = total / np.maximum(self.sizes, 1)
        return np.minimum.accumulate(mean) if self.nested else mean

    def within(self, among: np.ndarray) -> np.ndarray:
        """The units all of whose weights are in `among`."""
        return np.bincount(self.of[among], minlength=math.prod(self.grid)) == self.sizes

    def weights(self, kept: np.ndarray) -> np.ndarray:
        """The mask that keeps these units."""
        return kept.reshape(-1)[self.of]


Structure = Callable[..., Units]  # scores and the number of groups of a layer -> its units


def ranks(scores: np.ndarray) -> np.ndarray:
    """The place of each entry of the last axis in the order from the highest to the lowest, ties by index."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.arange(scores.shape[-1]), axis=-1)
    return found


def check_ratio(density: float, over: int, under: int, name: str, where: str = "density") -> None:
    """A structure of one density is asked for that, to six digits: 1 / 3 is no decimal."""
    if not math.isclose(density, over / under, rel_tol=1e-6):
        raise UserError(
            where, f"{name} with {over} of {under} has one density", found=density, allowed=f"{over / under:.7g}"
        )
