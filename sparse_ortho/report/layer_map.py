"""Density layer by layer of many methods in one picture: a row a method, a column a layer, the colour its density.

Lines (kind `layers`) can be told apart for a handful of methods; here there may be dozens. Means over seeds; where
every seed has left a layer empty it is black. One panel for each value of `panels`, one scale of colours for all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sparse_ortho.report.collect import Key, ordered, unique
from sparse_ortho.report.multiples import check_axes, panel_keys, panel_title, say_empty
from sparse_ortho.report.style import INACTIVE, INK, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "layers"  # what its rule hands it, read by the plan
EMPTY, COLOURS = "#111418", "viridis"
WRITTEN = 12  # layers up to which every density is written
Layer = tuple[int, str]  # position and name


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every layer of every cell."""
    panels, hue = tuple(exhibit.get("panels") or ()), (exhibit.get("hue") or "mask",)
    check_axes(exhibit["name"], cells, {"panels": panels, "hue": hue})
    placed = unique(exhibit["name"], cells, (*panels, *hue))
    found = densities(cells, rows)
    keys, methods = panel_keys(cells, panels), ordered([cell["axes"] for cell in cells], hue)
    layers = sorted({layer for told in found.values() for layer in told})
    maps = {panel: _matrix(panel, methods, layers, placed, found) for panel in keys}
    with styled():
        drawn = to_bytes(_draw(panels, keys, [key[0] for key in methods], layers, maps))
    told = [
        dict(zip((*panels, *hue), place, strict=True))
        | {"position": position, "layer": name, "density": math.fsum(values) / len(values), "n": len(values)}
        | {"cell": cell["id"]}
        for place, cell in placed.items()
        for (position, name), values in sorted(found[cell["id"]].items())
    ]
    return {**drawn, "csv": csv_text([*panels, *hue, "position", "layer", "density", "n", "cell"], told)}


def densities(
    cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, dict[Layer, list[float]]]:
    """By cell and layer the densities of the planned seeds."""
    planned = {(cell["id"], seed) for cell in cells for seed in cell["seeds"]}
    found: dict[str, dict[Layer, list[float]]] = {cell["id"]: defaultdict(list) for cell in cells}
    for row in rows:
        if (row["cell"], row["seed"]) in planned and row["density"] is not None and math.isfinite(row["density"]):
            found[row["cell"]][row["position"], row["layer"]].append(float(row["density"]))
    return found


def _matrix(
    panel: Key,
    methods: Sequence[Key],
    layers: Sequence[Layer],
    placed: Mapping[Key, Mapping[str, Any]],
    found: Mapping[str, Mapping[Layer, Sequence[float]]],
) -> np.ndarray:
    """Methods by layers; what is not there is no number."""
    matrix = np.full((len(methods), len(layers)), np.nan)
    for i, method in enumerate(methods):
        told = found[placed[*panel, *method]["id"]] if (*panel, *method) in placed else {}
        for j, layer in enumerate(layers):
            if values := told.get(layer):
                matrix[i, j] = math.fsum(values) / len(values)
    return matrix


def _draw(
    panels: Sequence[str], keys: Sequence[Key], methods: Sequence[str], layers: Sequence[Layer], maps: Mapping[Key, Any]
) -> Figure:
    named = len(layers) <= 40
    wide = max(1.6, (0.46 if len(layers) <= WRITTEN else 0.2) * len(layers))
    high = max(1.0, 0.26 * len(methods))
    figure = new_figure(
        wide * len(keys) + 0.075 * max(map(len, methods), default=1) + 1.2, high + (1.5 if named else 0.9)
    )
    every: Any = figure.subplots(1, len(keys), sharey=True, squeeze=False)[0]
    known = np.concatenate([matrix[np.isfinite(matrix) & (matrix > 0)] for matrix in maps.values()] or [np.ones(1)])
    norm = LogNorm(min(float(known.min(initial=1.0)), 0.5), 1.0)
    drawn = None
    for axes, panel in zip(every, keys, strict=True):
        drawn = _panel(axes, maps[panel], norm, written=len(layers) <= WRITTEN)
        axes.set_title(panel_title(panels, panel))
        axes.set_xticks(range(len(layers)) if named else [])
        if named:
            axes.set_xticklabels([name.removesuffix(".weight") for _, name in layers], rotation=90, fontsize=7)
        axes.set_yticks(range(len(methods)), methods)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=list(every), pad=0.02, aspect=30)
        bar.outline.set_visible(False)  # pyright: ignore
        bar.set_label("density of the layer")
    signs = [(EMPTY, "empty layer", any((matrix == 0).any() for matrix in maps.values()))]
    signs += [(INACTIVE, "refused or not made", any(np.isnan(matrix).any() for matrix in maps.values()))]
    handles = [Patch(facecolor=colour, label=label) for colour, label, shown in signs if shown]
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


def _panel(axes: Axes, matrix: np.ndarray, norm: LogNorm, written: bool) -> Any:
    axes.set_facecolor(INACTIVE)
    if not matrix.size:
        say_empty(axes)
        return None
    colours = colormaps[COLOURS].with_extremes(bad=INACTIVE)
    axes.imshow(np.where(matrix == 0, 0.0, np.nan), cmap=ListedColormap([EMPTY]), aspect="auto")
    drawn = axes.imshow(np.ma.masked_where(~(matrix > 0), matrix), cmap=colours.with_extremes(bad=(0, 0, 0, 0)),
                        norm=norm, aspect="auto", interpolation="nearest")  # fmt: skip
    for (i, j), value in np.ndenumerate(matrix) if written else ():
        if math.isfinite(value):
            text = f"{value:.2g}".removeprefix("0") or "0"
            light = value == 0 or float(norm(value)) < 0.6
            axes.text(j, i, text, ha="center", va="center", fontsize=6.5, color="white" if light else INK)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return drawn
