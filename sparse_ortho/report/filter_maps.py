"""Which filters have something left, cell by cell: a square a filter, layer below layer, of the first seed.

Of measure `filters`: light is a filter with weights, dark one that has lost more than 90 % of them, and the darkest one
that has lost all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sparse_ortho.report.collect import Key, unique
from sparse_ortho.report.indexed import Found, check_names, first_seed, indexed
from sparse_ortho.report.multiples import check_axes, extent, panel_keys, panel_title, places, say_empty, subplots
from sparse_ortho.report.style import INACTIVE, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "measures"  # what its rule hands it, read by the plan
SHOWS = {"name": "filters"}  # the one that it draws
LOST, GAP = 0.9, 1  # more zeros than that: a filter counts as lost; rows between two layers
COLOURS = ("#ffffff", INACTIVE, "#7a8699", "#111418")  # no filter; kept; mostly lost; nothing left
KEYS = ("kept", "more than 90 % zero", "nothing left")
NAMED = 30  # layers that can be named beside a panel

Layers = list[tuple[str, np.ndarray]]  # name and zero rate of every filter


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has the rate of every filter."""
    panels = tuple(exhibit.get("panels") or ())
    check_axes(exhibit["name"], cells, {"panels": panels})
    placed = unique(exhibit["name"], cells, panels)
    found = indexed(cells, rows)
    check_names(exhibit["name"], "kind filter_maps needs", ["filter", "size"], found)
    first = {key: first_seed(cell, found) for key, cell in placed.items()}
    maps = {key: by_layer(told[1]) for key, told in first.items() if told}
    with styled():
        drawn = to_bytes(_draw(panels, panel_keys(cells, panels), maps))
    told = [
        dict(zip(panels, key, strict=True))
        | {"layer": name, "filter": i, "zero_rate": rate, "cell": placed[key]["id"], "seed": first[key][0]}  # type: ignore
        for key, layers in maps.items()
        for name, rates in layers
        for i, rate in enumerate(rates.tolist())
    ]
    return {**drawn, "csv": csv_text([*panels, "layer", "filter", "zero_rate", "seed", "cell"], told)}


def by_layer(found: Found) -> Layers:
    rates, start, layers = list(found["filter"].values()), 0, []
    for (name,), size in found["size"].items():
        layers.append((name.removesuffix(".weight"), np.array(rates[start : start + int(size)])))
        start += int(size)
    return layers


def picture(layers: Layers, width: int) -> tuple[np.ndarray, list[float]]:
    """Colours as numbers, and the middle row of every layer: rows of `width` filters, a gap between layers."""
    heights = [-(-len(rates) // width) for _, rates in layers]
    image = np.zeros((sum(heights) + GAP * (len(heights) - 1), width), dtype=int)
    top, middles = 0, []
    for (_, rates), height in zip(layers, heights, strict=True):
        colours = 1 + (rates > LOST).astype(int) + (rates == 1).astype(int)
        padded = np.zeros(height * width, dtype=int)
        padded[: len(rates)] = colours
        image[top : top + height] = padded.reshape(height, width)
        middles.append(top + (height - 1) / 2)
        top += height + GAP
    return image, middles


def _draw(panels: Sequence[str], keys: Sequence[Key], maps: Mapping[Key, Layers]) -> Figure:
    grid = places(panels, keys)
    rows, columns = extent(grid)
    largest = max((sum(len(rates) for _, rates in layers) for layers in maps.values()), default=1)
    width = max(16, int(np.sqrt(1.4 * largest)))
    high = max((len(picture(layers, width)[0]) for layers in maps.values()), default=width)
    inches = 2.1 * high / width
    figure = new_figure(2.1 * columns + 1.2, (0.3 + inches) * rows + 0.4)
    for panel, axes in subplots(figure, grid).items():
        axes.set_title(panel_title(panels, panel))
        if panel in maps:
            _panel(axes, maps[panel], width)
        else:
            say_empty(axes)
    edge: dict[str, Any] = {"edgecolor": "#9aa1ad", "linewidth": 0.5}
    handles = [Patch(facecolor=c, label=k, **edge) for c, k in zip(COLOURS[1:], KEYS, strict=True)]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def _panel(axes: Axes, layers: Layers, width: int) -> None:
    image, middles = picture(layers, width)
    colours = ListedColormap(COLOURS)
    axes.imshow(image, cmap=colours, vmin=-0.5, vmax=3.5, interpolation="nearest", aspect="equal")
    every = -(-len(layers) // NAMED)
    axes.set_yticks(middles[::every], [name for name, _ in layers][::every], fontsize=6.5)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
