"""How far masks are from each other: a matrix of Hamming distances and one of overlaps, cell by cell.

    Hamming = share of the weights that one mask keeps and the other does not
    overlap = intersection over union of the weights that are kept

Means over the seeds that two cells share, each seed's mask with the same seed's; on the diagonal two seeds of the same
cell are compared, which is how far chance alone moves a mask. The masks are those that training starts with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import Key, key, unique
from sparse_ortho.report.multiples import check_axes
from sparse_ortho.report.style import INACTIVE, INK, new_figure, styled, to_bytes
from sparse_ortho.report.text import ABSENT, csv_text

READS = "masks"  # what its rule hands it, read by the plan
COLOURS, WRITTEN = "viridis", 14  # cells up to which every number is written
KINDS = ("Hamming distance", "overlap (IoU)")

Bits = Mapping[str, np.ndarray]  # layer -> mask
Masks = Callable[[str, int], Bits | None]  # of a cell's seed; none if it has none
Pair = tuple[float, float, int]  # Hamming, overlap, of how many pairs of masks


def render(exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], masks: Masks) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has a row for every pair of cells, a cell with itself too."""
    axes = tuple(exhibit.get("panels") or ()) or ("mask", "density")
    check_axes(exhibit["name"], cells, {"panels": axes})
    unique(exhibit["name"], cells, axes)
    found = {cell["id"]: {seed: bits for seed in cell["seeds"] if (bits := masks(cell["id"], seed))} for cell in cells}
    pairs = {
        (i, j): compared(cells[i]["id"], found[cells[i]["id"]], cells[j]["id"], found[cells[j]["id"]])
        for i in range(len(cells))
        for j in range(i + 1)
    }
    names = [_named(axes, key(cell["axes"], axes)) for cell in cells]
    with styled():
        drawn = to_bytes(_draw(names, pairs))
    told = [
        {"left": names[i], "right": names[j], "hamming": _plain(h), "overlap": _plain(o), "n": n}
        | {"left_cell": cells[i]["id"], "right_cell": cells[j]["id"]}
        for (i, j), (h, o, n) in pairs.items()
    ]
    return {**drawn, "csv": csv_text(["left", "right", "hamming", "overlap", "n", "left_cell", "right_cell"], told)}


def _named(axes: Sequence[str], values: Key) -> str:
    """The words of a cell: neither that it is no ticket, nor of a ticket that pruning began with a dense network."""
    silent = {(axis, value) for axis in axes for value in (ABSENT, *(["0"] if axis.startswith("ticket.") else []))}
    told = [(axis.rpartition(".")[2], v) for axis, v in zip(axes, values, strict=True) if (axis, v) not in silent]
    told = [pair for pair in told if pair[1] != "dense"] or told
    return " · ".join(value if value[:1].isalpha() else f"{axis} {value}" for axis, value in told)


def compared(left: str, ours: Mapping[int, Bits], right: str, theirs: Mapping[int, Bits]) -> Pair:
    """Means over the seeds of both; of a cell with itself over all pairs of different seeds."""
    if left == right:
        places = [(ours[a], ours[b]) for a, b in combinations(sorted(ours), 2)]
    else:
        places = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    values = [distance(f"{left} and {right}", *place) for place in places]
    if not values:
        return math.nan, math.nan, 0
    hamming, overlap = (math.fsum(column) / len(values) for column in zip(*values, strict=True))
    return hamming, overlap, len(values)


def distance(where: str, left: Bits, right: Bits) -> tuple[float, float]:
    """Hamming distance and overlap of two masks of one network; two that keep nothing overlap wholly."""
    if {name: mask.shape for name, mask in left.items()} != {name: mask.shape for name, mask in right.items()}:
        raise UserError(where, "are masks of different networks and cannot be compared")
    apart = sum(int(np.count_nonzero(left[name] != right[name])) for name in left)
    either = sum(int(np.count_nonzero(left[name] | right[name])) for name in left)
    size = sum(mask.size for mask in left.values())
    return apart / size, (either - apart) / either if either else 1.0


def _draw(names: Sequence[str], pairs: Mapping[tuple[int, int], Pair]) -> Figure:
    side = max(2.4, 0.42 * len(names))
    longest = 0.062 * max(map(len, names))
    figure = new_figure(2 * (side + 0.7) + longest + 0.4, side + longest + 0.5)
    panels = figure.subplots(1, 2, sharey=True)
    for kind, axes in enumerate(panels):
        matrix = np.full((len(names), len(names)), np.nan)
        for (i, j), pair in pairs.items():
            matrix[i, j] = matrix[j, i] = pair[kind]
        _panel(figure, axes, matrix, names, KINDS[kind])
    return figure


def _panel(figure: Figure, axes: Axes, matrix: np.ndarray, names: Sequence[str], title: str) -> None:
    known = matrix[np.isfinite(matrix)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    colours = colormaps[COLOURS].with_extremes(bad=INACTIVE)
    drawn = axes.imshow(matrix, cmap=colours, vmin=low, vmax=max(high, low + 1e-9), interpolation="nearest")
    axes.set_title(title)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    if len(names) <= WRITTEN:
        for (i, j), value in np.ndenumerate(matrix):
            pale = not np.isfinite(value) or value > (low + high) / 2
            text = "–" if not np.isfinite(value) else f"{value:.2f}".removeprefix("0") if value < 0.995 else "1"
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color=INK if pale else "white")
    figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02).outline.set_visible(False)  # pyright: ignore


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
