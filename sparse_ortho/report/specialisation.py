"""Class specialisation of channels, dense and sparse back to back (Dettmers, Zettlemoyer, arXiv 1907.04840, figure 5).

A row a sparse cell, a panel a layer: the dense network's channels to the left, those of the sparse one to the right, as
shares of the layer's channels, all seeds together; beside a row the two-way analysis of variance of all its channels,
value ~ layer + sparse + both. Needs one dense cell, and measure `features`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sparse_ortho.errors import UserError
from sparse_ortho.report.anova import Effect, two_way
from sparse_ortho.report.collect import Key, unique
from sparse_ortho.report.indexed import Found, check_names, indexed
from sparse_ortho.report.multiples import check_axes, panel_title, say_empty
from sparse_ortho.report.style import INK, PALETTE, QUIET, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "measures"  # what its rule hands it, read by the plan
SHOWS = {"name": "features"}  # the one that it draws
BINS = 25
MOST = 6  # layers of a row; of a deeper network evenly spaced ones are drawn, and all are analysed

Layers = dict[str, list[float]]  # layer -> specialisation of its channels, of all seeds


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every channel, and the analyses of variance after them."""
    panels = tuple(exhibit.get("panels") or ())
    check_axes(exhibit["name"], cells, {"panels": panels})
    dense = [cell for cell in cells if cell["axes"].get("mask") == "dense"]
    sparse = [cell for cell in cells if cell["axes"].get("mask") != "dense"]
    if len(dense) != 1 or not sparse:
        where = f"exhibit {exhibit['name']}"
        raise UserError(where, "compares one dense cell with sparse ones", found=f"{len(dense)} and {len(sparse)}")
    placed = unique(exhibit["name"], sparse, panels)
    found = indexed(cells, rows)
    check_names(exhibit["name"], "kind specialisation needs", ["specialisation"], found)
    reference = channels(dense[0], found)
    groups = {key: channels(cell, found) for key, cell in placed.items()}
    tables = {key: analysis(reference, mine) for key, mine in groups.items()}
    with styled():
        drawn = to_bytes(_draw(panels, reference, groups, tables))
    told = [{"row": "dense"} | line for line in _lines(reference, dense[0]["id"])]
    for key, mine in groups.items():
        title = panel_title(panels, key) or "sparse"
        told += [{"row": title} | line for line in _lines(mine, placed[key]["id"])]
        told += [{"row": title, "cell": placed[key]["id"]} | _effect(effect) for effect in tables[key]]
    columns = ["row", "layer", "channel", "specialisation", "effect", "squares", "freedom", "F", "p", "eta2", "omega2"]
    return {**drawn, "csv": csv_text([*columns, "cell"], told)}


def channels(cell: Mapping[str, Any], found: Mapping[tuple[str, int], Found]) -> Layers:
    layers: Layers = {}
    for seed in cell["seeds"]:
        for place, value in found.get((cell["id"], seed), {}).get("specialisation", {}).items():
            if place:  # without a place it is the mean
                layers.setdefault("/".join(place[:-1]), []).append(value)
    return layers


def analysis(dense: Layers, sparse: Layers) -> list[Effect]:
    """value ~ layer + sparse + layer:sparse over the channels of the layers that both have."""
    shared = [name for name in dense if name in sparse]
    rows = [
        (value, name, kind)
        for kind, layers in (("dense", dense), ("sparse", sparse))
        for name in shared
        for value in layers[name]
    ]
    return two_way(*map(list, zip(*rows, strict=True)), ("layer", "sparse")) if rows else []  # type: ignore[arg-type]


def _lines(layers: Layers, cell: str) -> list[dict[str, Any]]:
    return [
        {"layer": name, "channel": i, "specialisation": value, "cell": cell}
        for name, values in layers.items()
        for i, value in enumerate(values)
    ]


def _effect(effect: Effect) -> dict[str, Any]:
    about = {"effect": effect.name, "squares": effect.squares, "freedom": effect.freedom, "F": effect.f, "p": effect.p}
    return about | {"eta2": effect.eta, "omega2": effect.omega}


def _draw(
    panels: Sequence[str], dense: Layers, groups: Mapping[Key, Layers], tables: Mapping[Key, list[Effect]]
) -> Figure:
    names = list(dense) or ["-"]
    names = [names[round(i)] for i in np.linspace(0, len(names) - 1, min(MOST, len(names)))]
    figure = new_figure(1.5 * len(names) + 4.0, 1.9 * len(groups) + 1.0)
    grid: Any = figure.subplots(
        len(groups), len(names) + 1, sharey=False, squeeze=False, width_ratios=[1.5] * len(names) + [2.9]
    )
    every = [value for layers in (dense, *groups.values()) for found in layers.values() for value in found]
    edges = np.linspace(min(every, default=0.0), max(every, default=1.0), BINS + 1)
    for row, (key, sparse) in enumerate(groups.items()):
        for column, name in enumerate(names):
            axes = grid[row, column]
            _panel(axes, dense.get(name, []), sparse.get(name, []), edges)
            if row == 0:
                axes.set_title(name, fontsize=8.5)
            if column:
                axes.tick_params(labelleft=False)
        grid[row, 0].set_ylabel(panel_title(panels, key) or "specialisation")
        _table(grid[row, -1], tables[key])
    figure.supxlabel("share of the layer's channels", fontsize=9)
    figure.supylabel("class specialisation", fontsize=9)
    handles: list[Artist] = [Patch(color=PALETTE[0], label="dense"), Patch(color=PALETTE[1], label="sparse")]
    handles.append(Line2D([], [], color=INK, linewidth=0.9, label="mean of the layer"))
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def _panel(axes: Axes, dense: Sequence[float], sparse: Sequence[float], edges: np.ndarray) -> None:
    if not dense and not sparse:
        say_empty(axes)
        return
    middles, height = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
    for sign, values, colour in ((-1, dense, PALETTE[0]), (1, sparse, PALETTE[1])):
        if values:
            counts = np.histogram(values, edges)[0] / len(values)
            axes.barh(middles, sign * counts, height=height, color=colour, linewidth=0)
            axes.axhline(float(np.mean(values)), *sorted((0.5, 0.5 + 0.5 * sign)), color=INK, linewidth=0.9)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    limit = max(map(abs, axes.get_xlim()))
    axes.set_xlim(-limit, limit)
    axes.set_ylim(edges[0], edges[-1])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3, symmetric=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):.2g}"))


def _table(axes: Axes, effects: Sequence[Effect]) -> None:
    """The analysis as text; nothing to compare leaves the place empty."""
    axes.axis("off")
    lines = [["effect", "df", "F", "p", "η²", "ω²"]]
    for effect in effects:
        f = "" if effect.f is None else f"{effect.f:.1f}"
        p = "" if effect.p is None else ("< .001" if effect.p < 0.001 else f"{effect.p:.3f}".removeprefix("0"))
        last = ["", ""] if effect.name == "residual" else [f"{effect.eta:.3f}", f"{effect.omega:.3f}"]
        lines.append([effect.name.replace(":", " × "), str(effect.freedom), f, p, *last])
    places = (0.0, 0.42, 0.57, 0.73, 0.89, 1.07)
    for i, line in enumerate(lines):
        for at, (word, text) in enumerate(zip(places, line, strict=True)):
            axes.text(word, 0.85 - 0.17 * i, text, transform=axes.transAxes, fontsize=8, clip_on=False,
                      ha="left" if at == 0 else "right", fontweight="bold" if i == 0 else "normal")  # fmt: skip
