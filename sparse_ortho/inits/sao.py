"""Sparsity-aware orthogonal initialisation, SAO (Esguerra, Nasir, Tang, Tumian, Ho, IEEE Access 2023, doi
10.1109/ACCESS.2023.3295344).

    linear:       W_l = gain * M_l,  M_l orthogonal with D nonzeros in every row of its wide orientation
    convolution:  W_l(centre) = gain * M_l, all other taps 0;  the mask keeps or removes whole kernels
    relu:         W_l = gain * [M, -M; -M, M],  M of half the size and half the degree (looks-linear)

Positions are new. A layer that the incoming mask keeps whole is dense orthogonal, without relu's form, as the released
program treats the first and the last layer: `mask: uniform_skip` says the same. In the others D is `degree`, or the one
whose count is nearest to the mask's (of two the smaller). So the density is D / max(rows, cols) and comes in steps: the
number of weights asked for is met exactly only if it is one of them.

`construction: expander` takes graphs that hang together in place of the published unions of complete ones
(`linalg.expander`). `values: normal` or `uniform` puts N(0, 1 / D) or U(-b, b) with b = sqrt(3 / D) on the same graphs,
RG-N and RG-U: rows of norm 1 in the mean square, not orthogonal; as released they are N(0, 1) and U(0, 1), of norm
sqrt(D) and sqrt(D / 3). `kernel: delta_eco` makes convolutions with circular padding by ECO (`linalg.eco`), with
matrices of one graph at all frequencies, `eco` every one.

Not from the paper: kernels of any odd size; each group of a grouped convolution is a block of its own; D has to divide
(see `linalg.ramanujan`), else the layer is refused with the degrees that it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.inits.blocks import Blocks, blocks_of
from sparse_ortho.inits.wrapped import Draw, convolutions_of, kernel_of, wraps
from sparse_ortho.linalg.expander import expander_degrees, expander_orthogonal
from sparse_ortho.linalg.haar import haar
from sparse_ortho.linalg.ramanujan import degrees, looks_linear, regular_orthogonal
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

UNIT = "degree"  # budgets are met to the nearest degree


def sao(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    gain: float = 1.0,
    degree: int | None = None,
    relu: bool = False,
    construction: Literal["published", "expander"] = "published",
    values: Literal["orthogonal", "normal", "uniform"] = "orthogonal",
    kernel: Literal["delta", "eco", "delta_eco"] = "delta",
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """New weights, and masks with a regular graph in every layer."""
    weights, moved, modules = {}, {}, convolutions_of(probe.model)
    blocks = blocks_of(probe, "sao")
    chosen = {name: _degree(name, block, masks[name], degree, relu, construction) for name, block in blocks.items()}
    for name, block in blocks.items():
        rng, layer = streams("init", name), _Layer(chosen[name], relu, construction, values)
        module = modules.get(name)
        kind = _kind(name, block, module, kernel)
        made = []
        for group in range(block.groups):
            graph, values_of = (streams("init", f"{name}/graph{group}"), rng) if kind == "eco" else (rng, None)
            made.append(kernel_of(name, block, module, kind, layer.matrices(graph, values_of)))
        whole = np.concatenate(made)
        weights[name] = torch.from_numpy(gain * whole).to(probe.weights[name].dtype)
        kept = (whole != 0).reshape(*whole.shape[:2], -1).any(2)
        moved[name] = torch.from_numpy(block.whole_kernels(kept))
    return weights, moved


@dataclass(frozen=True)
class _Layer:
    """How the matrices of one layer are made; `degree` None is dense."""

    degree: int | None
    relu: bool
    construction: str
    values: str

    def matrices(self, rng: np.random.Generator, values: np.random.Generator | None) -> Draw:
        """Matrices on one graph if their numbers come from a generator of their own, else each on its own graph."""
        start = rng.bit_generator.state

        def draw(rows: int, cols: int) -> np.ndarray:
            if values is not None:
                rng.bit_generator.state = start
            return self._matrix(rows, cols, rng, values)

        return draw

    def _matrix(self, rows: int, cols: int, rng: np.random.Generator, values: np.random.Generator | None) -> np.ndarray:
        if self.degree is None:
            return haar(rows, cols, values or rng)
        make = expander_orthogonal if self.construction == "expander" else regular_orthogonal
        fold = 2 if self.relu else 1
        matrix = make(rows // fold, cols // fold, self.degree // fold, rng, values)
        if self.values != "orthogonal":
            matrix = _random_values(matrix, self.degree // fold, self.values, values or rng)
        return looks_linear(matrix) if self.relu else matrix


def _kind(name: str, block: Blocks, module: Any, kernel: str) -> str:
    """ECO where it is orthogonal with matrices of c_out x c_in: strides would need wider ones, of another degree."""
    if kernel == "delta" or block.taps == 1:
        return "delta"
    if wraps(module) and module.stride[0] == 1:
        return "eco"
    if kernel == "eco":
        raise UserError(name, "sao with kernel: eco needs circular padding of half the kernel and stride 1; delta_eco "
                        "takes delta kernels for other layers")  # fmt: skip
    return "delta"


def _random_values(matrix: np.ndarray, degree: int, values: str, rng: np.random.Generator) -> np.ndarray:
    """Numbers with variance 1 / degree where the matrix has an entry."""
    half = math.sqrt(3 / degree)
    normal = values == "normal"
    drawn = rng.standard_normal(matrix.shape) / math.sqrt(degree) if normal else rng.uniform(-half, half, matrix.shape)
    return np.where(matrix != 0, drawn, 0.0)


def _degree(
    name: str, block: Blocks, mask: torch.Tensor, degree: int | None, relu: bool, construction: str
) -> int | None:
    """The degree of a layer, None for a dense one."""
    count, fold = int(mask.count_nonzero()), 2 if relu else 1
    if count == block.size:
        return None
    sides = f"{block.rows} x {block.cols}"
    if block.rows % fold or block.cols % fold:
        raise UserError(name, "sao with relu needs even sides, or a mask that keeps the layer whole", found=sides)
    known = expander_degrees if construction == "expander" else degrees
    have = [fold * half for half in known(block.rows // fold, block.cols // fold)]
    if not have:
        raise UserError(name, f"{sides} is too small for an expander; construction: published has degrees for it")
    if degree is None:
        wide = max(block.rows, block.cols)
        return min(have, key=lambda d: (abs(d * block.size - count * wide), d))
    if degree not in have:
        raise UserError(
            name,
            f"{sides} cannot have this many weights along the longer side and equally many along the other; or keep "
            "the layer whole, as mask: uniform_skip does with the first and the last",
            found=degree,
            allowed=", ".join(map(str, have)),
        )
    return degree
