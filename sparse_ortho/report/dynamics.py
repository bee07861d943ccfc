"""How a topology develops in training: density, exploration, change of the masks and any other column of the curves.

A row of panels a quantity, a column a combination of axes, a line a hue: the mean over seeds and their range.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D

from sparse_ortho.report import over_time
from sparse_ortho.report.collect import ordered, unique
from sparse_ortho.report.metrics import short
from sparse_ortho.report.multiples import check_axes, draw_line, legend_above, panel_keys, range_handles, say_empty
from sparse_ortho.report.style import line_style, styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "curves"  # what its rule hands it, read by the plan
NOT_DRAWN = ("cell", "seed", "epoch", "step", "layers")


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every point that the figure draws."""
    panels, hue = tuple(exhibit.get("panels") or ()), (exhibit["hue"],) if exhibit.get("hue") else ()
    check_axes(exhibit["name"], cells, {"panels": panels, "hue": hue})
    placed = unique(exhibit["name"], cells, (*panels, *hue))
    rows = list(rows)
    known = dict.fromkeys(name for row in rows[:1] for name in row if name not in NOT_DRAWN)
    quantities = over_time.asked(exhibit, known if rows else exhibit["quantities"])
    curves = over_time.curves_of(cells, rows)
    keys, hues = panel_keys(cells, panels), ordered([cell["axes"] for cell in cells], hue)
    told = []
    with styled():
        names = {name: short(name) for name in quantities}
        figure, axes = over_time.grid(exhibit, quantities, names, panels, keys)
        for (quantity, key), place in axes.items():
            empty = True
            for i, value in enumerate(hues):
                if (cell := placed.get((*key, *value))) is None:
                    continue
                seeds = curves[cell["id"]].values()
                line = over_time.line({e: row[quantity] for e, row in seed.items()} for seed in seeds)
                draw_line(place, line, line_style(i))
                empty = empty and not line
                about = dict(zip(panels + hue, key + value, strict=True)) | {"quantity": quantity, "cell": cell["id"]}
                told += [about | point | {"epoch": point["x"]} for point in line]
            if empty:
                say_empty(place)
        looks = [Line2D([], [], label=value[0] if value else "mean", **line_style(i)) for i, value in enumerate(hues)]
        legend_above(figure, [*looks, *range_handles(told)], len(keys))
        drawn = to_bytes(figure)
    columns = ["quantity", *panels, *hue, "epoch", "n", "mean", "min", "max", "cell"]
    return {**drawn, "csv": csv_text(columns, told)}
