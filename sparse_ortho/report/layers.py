"""Density layer by layer, as small multiples: a panel a combination of axes, a line a hue, seeds as mean and range.

The thin line is the density of the whole network, sum(density * size) / sum(size): one a panel where its lines share
it, and one a hue in the hue's colour where they do not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import ordered, unique
from sparse_ortho.report.layer_panels import Line, draw
from sparse_ortho.report.multiples import check_axes, panel_keys, summarised
from sparse_ortho.report.style import styled, to_bytes
from sparse_ortho.report.text import csv_text

READS = "layers"  # what its rule hands it, read by the plan
COLUMNS = ("position", "layer", "size", "density_mean", "density_min", "density_max", "n", "planned",
           "density_overall", "cell")  # fmt: skip
NOTHING = {"x": None, "layer": None, "size": None} | summarised([])


def render(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every point of the figure, and the cells without any."""
    panels, hue = tuple(exhibit.get("panels") or ()), (exhibit["hue"],) if exhibit.get("hue") else ()
    check_axes(exhibit["name"], cells, {"panels": panels, "hue": hue})
    placed = unique(exhibit["name"], cells, (*panels, *hue))
    found = _lines(cells, rows)
    keys, hues = panel_keys(cells, panels), ordered([cell["axes"] for cell in cells], hue)
    lines = {
        panel: {value: found[placed[*panel, *value]["id"]] for value in hues if (*panel, *value) in placed}
        for panel in keys
    }
    with styled():
        drawn = to_bytes(draw(exhibit, panels, lines, hues))
    signs = [(panel, value, line) for panel in keys for value, line in lines[panel].items()]
    told = [
        dict(zip(panels + hue, panel + value, strict=True))
        | {"position": point["x"], "layer": point["layer"], "size": point["size"], "n": point["n"]}
        | {f"density_{part}": point[part] for part in ("mean", "min", "max")}
        | {"density_overall": line.overall, "planned": line.planned, "cell": placed[*panel, *value]["id"]}
        for panel, value, line in signs
        for point in line.points or [NOTHING]
    ]
    return {**drawn, "csv": csv_text(list(dict.fromkeys([*panels, *hue, *COLUMNS])), told)}


def _lines(cells: Sequence[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]) -> dict[str, Line]:
    """Mean and range over the planned seeds of each cell, layer by layer."""
    planned = {(cell["id"], seed) for cell in cells for seed in cell["seeds"]}
    found: dict[str, dict[int, dict[int, Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if (row["cell"], row["seed"]) in planned and row["density"] is not None and math.isfinite(row["density"]):
            seeds = found[row["cell"]][row["position"]]
            if row["seed"] in seeds:
                raise UserError(row["cell"], f"has layer {row['position']} of seed {row['seed']} twice")
            seeds[row["seed"]] = row
    return {cell["id"]: _line(len(cell["seeds"]), found[cell["id"]]) for cell in cells}


def _line(planned: int, layers: Mapping[int, Mapping[int, Mapping[str, Any]]]) -> Line:
    points = []
    for position, seeds in sorted(layers.items()):
        told = [seeds[seed] for seed in sorted(seeds)]
        point = {"x": position, "layer": told[0]["layer"], "size": told[0]["size"]}
        points.append(point | summarised([float(row["density"]) for row in told]))
    every = [row for seeds in layers.values() for row in seeds.values()]
    weights = math.fsum(row["size"] for row in every)
    kept = math.fsum(row["density"] * row["size"] for row in every)
    return Line(points, kept / weights if weights else None, planned)
