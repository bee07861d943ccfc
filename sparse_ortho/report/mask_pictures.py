"""What a mask looks like: which pixels the first layer reads, or the kernels of a convolution, a panel a cell.

A linear layer on an image: how many of its weights each pixel has, the sum over units and channels, of the cell's first
seed. A convolution: its kernels as binary pictures, a column an output channel, a row an input channel, the first
`MOST` of each. `layer` names another layer than the first; a linear layer that sees no square image is shown as it is,
units by inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import Key, unique
from sparse_ortho.report.multiples import check_axes, panel_keys, panel_title, places, say_empty, subplots
from sparse_ortho.report.style import INACTIVE, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "masks"  # what its rule hands it, read by the plan
MOST = 16  # channels of a side; a 64 x 64 layer of kernels would be dust
COLOURS, BINARY = "magma", "gray_r"
CHANNELS = (1, 3)  # of an image, where they are what makes it square

Masks = Callable[[str, int], Mapping[str, np.ndarray] | None]  # of a cell's seed; none if it has none


def render(exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], masks: Masks) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every number of the pictures."""
    axes = tuple(exhibit.get("panels") or ()) or ("mask", "density")
    check_axes(exhibit["name"], cells, {"panels": axes})
    placed = unique(exhibit["name"], cells, axes)
    drawn: dict[Key, tuple[np.ndarray, bool]] = {}
    names: dict[Key, str] = {}
    for place, cell in placed.items():
        if found := masks(cell["id"], cell["seeds"][0]):
            names[place] = _named(exhibit, found)
            drawn[place] = picture(found[names[place]])
    keys = panel_keys(cells, axes)
    with styled():
        files = to_bytes(_draw(axes, keys, drawn, sorted(set(names.values()))))
    told = [
        dict(zip(axes, place, strict=True))
        | {"layer": names[place], "row": row, "column": column, "value": float(value)}
        | {"cell": placed[place]["id"], "seed": placed[place]["seeds"][0]}
        for place, (image, _) in drawn.items()
        for (row, column), value in np.ndenumerate(image)
        if math.isfinite(value)
    ]
    return {**files, "csv": csv_text([*axes, "layer", "row", "column", "value", "seed", "cell"], told)}


def _named(exhibit: Mapping[str, Any], found: Mapping[str, np.ndarray]) -> str:
    layer = exhibit.get("layer") or next(iter(found))
    if layer not in found:
        raise UserError(f"exhibit {exhibit['name']}: layer", "unknown layer", found=layer, allowed=sorted(found))
    return layer


def picture(mask: np.ndarray) -> tuple[np.ndarray, bool]:
    """The image of a mask, and whether it is binary; between kernels there is no number."""
    if mask.ndim > 2:
        return kernels(mask), True
    inputs = mask.shape[1]
    for channels in CHANNELS:
        side = math.isqrt(inputs // channels)
        if side > 1 and channels * side * side == inputs:
            return mask.sum(0).reshape(channels, side, side).sum(0).astype(float), False
    return mask.astype(float), True


def kernels(mask: np.ndarray) -> np.ndarray:
    """Kernels side by side, a gap of one between them; a one-dimensional kernel is a line."""
    shown = mask[:MOST, :MOST].astype(float)
    shown = shown.reshape(*shown.shape[:2], -1, shown.shape[-1])
    outputs, inputs, height, width = shown.shape
    image = np.full((inputs * (height + 1) - 1, outputs * (width + 1) - 1), np.nan)
    for o, i in np.ndindex(outputs, inputs):
        image[i * (height + 1) : i * (height + 1) + height, o * (width + 1) : o * (width + 1) + width] = shown[o, i]
    return image


def _draw(
    names: Sequence[str], keys: Sequence[Key], drawn: Mapping[Key, tuple[np.ndarray, bool]], layers: Sequence[str]
) -> Figure:
    grid = places(names, keys)
    rows, columns = (1 + max(place[i] for place in grid.values()) for i in (0, 1))
    shape = max((image.shape for image, _ in drawn.values()), default=(1, 1))
    wide = 2.0 if shape[1] <= 2 * shape[0] else 3.2
    figure = new_figure(wide * columns + 1.0, (min(wide * shape[0] / shape[1], 3.0) + 0.35) * rows + 0.5)
    counts = [image for image, binary in drawn.values() if not binary]
    most = max((float(image.max()) for image in counts), default=1.0) or 1.0
    panels = subplots(figure, grid)
    scale = None
    for panel, axes in panels.items():
        axes.set_title(panel_title(names, panel))
        if panel not in drawn:
            say_empty(axes)
            continue
        image, binary = drawn[panel]
        shown = _panel(axes, image, BINARY if binary else COLOURS, 1.0 if binary else most)
        scale = scale if binary else shown
    if scale is not None:
        bar = figure.colorbar(scale, ax=list(panels.values()), shrink=0.7, pad=0.02)
        bar.outline.set_visible(False)  # pyright: ignore
        bar.set_label("weights of the pixel")
    figure.supxlabel(" and ".join(layers) if len(layers) <= 2 else "the first layer", fontsize=9)
    return figure


def _panel(axes: Axes, image: np.ndarray, colours: str, most: float) -> Any:
    drawn = axes.imshow(
        image, cmap=colormaps[colours].with_extremes(bad=INACTIVE), vmin=0, vmax=most, interpolation="nearest"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return drawn
