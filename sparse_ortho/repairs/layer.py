"""A layer under repair: weights opened where a unit has none, and as many closed that no unit needs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.masks import groups_of
from sparse_ortho.probe import Probe


class Layer:
    """A mask as groups x rows x columns x taps, counted by row and by column; `places` are the weights of any use."""

    def __init__(self, name: str, mask: torch.Tensor, score: torch.Tensor, places: torch.Tensor, groups: int):
        shape = (groups, len(mask) // groups, mask.shape[1], -1)
        self.name, self.shape = name, mask.shape
        self.active = mask.numpy().reshape(shape).copy()
        self.places = places.numpy().reshape(shape) | self.active
        self.score = score.double().numpy().reshape(shape)
        self.free = np.zeros((groups, mask.shape[1]), dtype=bool)  # columns that may lose all their weights

    @property
    def mask(self) -> torch.Tensor:
        return torch.from_numpy(self.active.reshape(self.shape))

    @property
    def count(self) -> int:
        return int(np.count_nonzero(self.active))

    def rows(self) -> np.ndarray:
        """Active weights of every output."""
        return self.active.sum((2, 3)).reshape(-1)

    def columns(self) -> np.ndarray:
        """Active weights of every input."""
        return self.active.sum((1, 3)).reshape(-1)

    def best_of_row(self, row: int) -> tuple[float, tuple[int, ...]] | None:
        group, inside = divmod(row, self.active.shape[1])
        return self._best((slice(group, group + 1), slice(inside, inside + 1)), (group, inside, 0, 0))

    def best_of_column(self, column: int) -> tuple[float, tuple[int, ...]] | None:
        group, inside = divmod(column, self.active.shape[2])
        return self._best((slice(group, group + 1), slice(None), slice(inside, inside + 1)), (group, 0, inside, 0))

    def _best(self, where: tuple[slice, ...], start: tuple[int, ...]) -> tuple[float, tuple[int, ...]] | None:
        """The best weight there that could be opened: its score and its place."""
        score = np.where(self.places[where] & ~self.active[where], self.score[where], -np.inf)
        if not (self.places[where] & ~self.active[where]).any():
            return None
        place = np.unravel_index(int(np.argmax(score)), score.shape)
        return float(score[place]), tuple(int(a + b) for a, b in zip(start, place, strict=True))

    def floor(self) -> int:
        """The fewest weights that leave no output, and no input but free ones, without one that has one now."""
        rows = self.active.any((2, 3)).sum(1)
        columns = (self.active.any((1, 3)) & ~self.free).sum(1)
        return int(np.maximum(rows, columns).sum())

    def resize(self, count: int, rng: np.random.Generator) -> None:
        """`count` weights, and every unit that has one keeps one: the worst leave, the best come."""
        if self.count > count:
            self._close(count)
        if self.count > count:
            self._cover(rng)
        if self.count < count:
            self._fill(count)

    def _close(self, count: int) -> None:
        """The worst first, of those that are neither the last of their row nor of their column."""
        rows, columns = self.active.sum((2, 3)), self.active.sum((1, 3))
        columns[self.free] = np.iinfo(columns.dtype).max // 2
        groups, outs, ins, taps = np.nonzero(self.active)
        surplus = len(groups) - count
        for at in np.argsort(self.score[groups, outs, ins, taps], kind="stable"):
            if not surplus:
                return
            group, row, column = groups[at], outs[at], ins[at]
            if rows[group, row] > 1 and columns[group, column] > 1:
                self.active[group, row, column, taps[at]] = False
                rows[group, row] -= 1
                columns[group, column] -= 1
                surplus -= 1

    def _cover(self, rng: np.random.Generator) -> None:
        """As few weights as touch all units that have one: pairs at random, where stars have too many."""
        score, made = np.where(self.places, self.score, -np.inf), np.zeros_like(self.active)
        for group in range(len(self.active)):
            rows = rng.permutation(np.flatnonzero(self.active[group].any((1, 2))))
            columns = rng.permutation(np.flatnonzero(self.active[group].any((0, 2)) & ~self.free[group]))
            for step in range(max(len(rows), len(columns))):
                row = rows[step % len(rows)]
                column = columns[step % len(columns)] if len(columns) else np.argmax(score[group, row].max(1))
                made[group, row, column, np.argmax(score[group, row, column])] = True
        self.active, self._before = made, self.active

    def _fill(self, count: int) -> None:
        """The best of those that were active come first."""
        before = getattr(self, "_before", np.zeros_like(self.active))
        open_ = np.flatnonzero((self.places & ~self.active).reshape(-1))
        keys = np.lexsort((-self.score.reshape(-1)[open_], ~before.reshape(-1)[open_]))
        missing = count - self.count
        if missing > len(open_):
            raise UserError(self.name, "has not as many places on a path", found=count, allowed=f"{self.places.sum()}")
        self.active.reshape(-1)[open_[keys[:missing]]] = True


def layers_of(
    probe: Probe,
    kept: Mapping[str, torch.Tensor],
    scores: Mapping[str, torch.Tensor],
    places: Mapping[str, torch.Tensor],
) -> dict[str, Layer]:
    groups = groups_of(probe.model)
    return {n: Layer(n, kept[n], scores[n], places[n], groups.get(n, 1)) for n in probe.weights}
