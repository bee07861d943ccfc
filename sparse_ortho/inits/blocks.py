"""A layer's weight as an orthogonal initialisation sees it: blocks of rows x cols kernels, `taps` along each axis.

A linear layer is one block without axes; a convolution (c_out, c_in / groups, k, k) is `groups` blocks of
c_out / groups x c_in / groups, one above the other; a recurrent or attention matrix is a block for each gate. The
released code of EOI does not know groups: a depthwise kernel (C, 1, k, k) is one C x 1 matrix to it, that is one unit
vector, and at density 0.1 69 % of 96 channels start at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.gated import blocks_in
from sparse_ortho.masks import groups_of, plain_name
from sparse_ortho.probe import Probe


@dataclass(frozen=True)
class Blocks:
    groups: int
    rows: int
    cols: int
    taps: int
    axes: int

    @property
    def floor(self) -> int:
        """The fewest weights of an orthogonal kernel; budgets.floor_of sees no groups, so the plan's may be lower."""
        return self.groups * min(self.rows, self.cols)

    @property
    def matrix_size(self) -> int:
        return self.groups * self.rows * self.cols

    @property
    def size(self) -> int:
        return self.matrix_size * self.taps**self.axes

    def whole_kernels(self, kept: np.ndarray) -> np.ndarray:
        """The mask that keeps all taps of the kernels in `kept` (rows of all groups x cols), and no others."""
        return np.tile(kept.reshape(*kept.shape, *[1] * self.axes), (1, 1, *[self.taps] * self.axes))


def parts_of(model: nn.Module) -> dict[str, int]:
    """Of how many blocks a weight is, by its name: groups, or gates; 1 where it is in neither."""
    return {**groups_of(model), **{plain_name(name): blocks for name, blocks in blocks_in(model).items()}}


def blocks_of(probe: Probe, method: str) -> dict[str, Blocks]:
    """The blocks of every weight; kernels without a middle or with unequal sides are refused by name."""
    groups = parts_of(probe.model)
    found = {}
    for name, (rows, cols, *sides) in probe.shapes.items():
        if len(set(sides)) > 1 or (sides and sides[0] % 2 == 0):
            raise UserError(name, f"{method} needs square kernels of odd size, this layer's is", found=tuple(sides))
        parts = groups.get(name, 1)
        found[name] = Blocks(parts, rows // parts, cols, sides[0] if sides else 1, len(sides))
    return found
