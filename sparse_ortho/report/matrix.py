"""A sparse orthogonal matrix beside its Gram matrix: how few entries are enough for rows at right angles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from sparse_ortho.errors import UserError
from sparse_ortho.report.style import ACTIVE_ZERO, DIVERGING, INACTIVE, QUIET, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text

ROUNDING = 1e-12


READS = "inits"  # what its rule hands it, read by the plan


def render(
    exhibit: Mapping[str, Any], matrix: np.ndarray, mask: np.ndarray, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; a `gain` that `facts` lack is measured (Gram's diagonal)."""
    if matrix.ndim != 2 or matrix.shape != mask.shape or not matrix.size:
        found = f"shapes {matrix.shape} and {mask.shape}"
        raise UserError(f"exhibit {exhibit['name']}", "needs a matrix and its mask", found=found)
    matrix, active = np.asarray(matrix, dtype=np.float64), np.asarray(mask, dtype=bool)
    product = gram(matrix)
    gain = float(facts.get("gain", math.sqrt(np.diagonal(product).mean())))
    residual = gram_residual(matrix, gain)
    with styled():
        drawn = to_bytes(_draw(exhibit, matrix, active, product, gain, residual))
    rows = (
        {"row": r, "col": c, "value": float(matrix[r, c]), "active": int(active[r, c])}
        for r, c in np.ndindex(matrix.shape)
    )
    return {**drawn, "csv": csv_text(("row", "col", "value", "active"), rows)}


def gram(matrix: np.ndarray) -> np.ndarray:
    """Q Q^T for a wide or square matrix, Q^T Q for a tall one: the smaller of the two."""
    return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix


def gram_residual(matrix: np.ndarray, gain: float) -> float:
    """max |Gram - gain^2 I|: 0 where the matrix is orthogonal."""
    product = gram(matrix)
    return float(np.abs(product - gain**2 * np.eye(len(product))).max())


def _draw(
    exhibit: Mapping[str, Any],
    matrix: np.ndarray,
    active: np.ndarray,
    product: np.ndarray,
    gain: float,
    residual: float,
) -> Figure:
    rows, columns = matrix.shape
    wide = min(2.5, max(0.5, columns / rows))
    figure = new_figure(min(11.0, 3.4 * wide + 5.2), 4.6)
    left, right = figure.subplots(1, 2, width_ratios=(wide, 1.0))
    layer = f"{exhibit['layer']}: " if exhibit.get("layer") else ""
    name = "Q Qᵀ" if rows <= columns else "Qᵀ Q"
    colour = colormaps[DIVERGING].with_extremes(bad=INACTIVE)
    shown = _image(left, np.where(active, matrix, np.nan), colour)
    zeros = np.where(active & (matrix == 0), 1.0, np.nan)
    if np.isfinite(zeros).any():
        flat = colormaps[DIVERGING].with_extremes(over=ACTIVE_ZERO, bad=(0, 0, 0, 0))
        left.imshow(zeros, cmap=flat, vmin=0.0, vmax=0.5, interpolation="nearest", aspect="equal")
    _label(left, f"{layer}Q, {rows} × {columns}\ndensity {active.mean():.4g}")
    _label(right, f"{name}, gain {gain:.4g}\nmax |Gram − gain² I| {_measured(residual)}")
    figure.colorbar(shown, ax=left, shrink=0.8, pad=0.02).outline.set_visible(False)  # pyright: ignore
    figure.colorbar(_image(right, product.round(12), colour), ax=right, shrink=0.8, pad=0.02).outline.set_visible(False)  # pyright: ignore
    keys = [Patch(color=INACTIVE, label="inactive")]
    if np.isfinite(zeros).any():
        keys.append(Patch(color=ACTIVE_ZERO, label="active, weight 0"))
    figure.legend(handles=keys, loc="outside lower left", ncols=len(keys), labelcolor=QUIET)
    return figure


def _measured(residual: float) -> str:
    """The last bits of a product differ between machines, and a figure must not."""
    return f"= {residual:.1e}" if residual >= ROUNDING else f"< {ROUNDING:.0e}"


def _image(axes: Axes, values: np.ndarray, colour: Any) -> AxesImage:
    """Zero is the middle of the colours, and the largest absolute value either end."""
    largest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0
    most = largest or 1.0
    return axes.imshow(values, cmap=colour, vmin=-most, vmax=most, interpolation="nearest", aspect="equal")


def _label(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    for line in (axes.xaxis, axes.yaxis):
        line.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
