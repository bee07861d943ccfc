"""How far a mask can be thinned before a layer is empty: the largest compression without layer collapse (Tanaka, Kunin,
Yamins, Ganguli, NeurIPS 2020, arXiv 2006.05467, figure 1).

    c = max { log10(1 / density) : no layer is empty there, nor at any higher density of the grid }

of each seed, from measure `effective`; entries are means over seeds. A seed counts once all its densities are measured.
Where the thinnest mask of the grid is whole for every seed, c is a lower bound and the entry says so (≥).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sparse_ortho.report.collect import Key, Row, Runs, key, ordered, unique
from sparse_ortho.report.html_table import html
from sparse_ortho.report.metrics import Metric
from sparse_ortho.report.multiples import check_axes
from sparse_ortho.report.pivot import Entry, Grid
from sparse_ortho.report.statistics import LEVEL, summary
from sparse_ortho.report.tables import markdown_table, tex_table
from sparse_ortho.report.text import ABSENT, csv_text, number

READS = "measures"  # what its rule hands it, read by the plan
AXIS, QUANTITY = "density", "empty"
METRIC = Metric("compression", "largest log10(1 / density) of the grid with a weight in every layer", 2, 1)
COLUMNS = ("seed", "log10_compression", "bound", "empty_from")


def render(exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], rows: Iterable[Row]) -> dict[str, str]:
    """{"md", "tex", "html", "csv"}; the csv has every seed."""
    down, across = tuple(exhibit["rows"]), tuple(exhibit["columns"])
    axes = (*down, *across)
    check_axes(exhibit["name"], cells, {"rows": down, "columns": across})
    unique(exhibit["name"], cells, (*axes, AXIS))
    empty = {(r["cell"], r["seed"]): r["value"] for r in rows if r["quantity"] == QUANTITY and r["value"] is not None}
    entries, told = {}, []
    for place in ordered([cell["axes"] for cell in cells], axes):
        grid = {float(cell["axes"][AXIS]): cell for cell in cells if key(cell["axes"], axes) == place}
        seeds = sorted({seed for cell in grid.values() for seed in cell["seeds"]})
        found = {seed: compression(layers) for seed in seeds if (layers := _layers(grid, seed, empty)) is not None}
        entries[place[: len(down)], place[len(down) :]] = _entry(found, seeds, min(grid))
        told += [dict(zip(axes, place, strict=True)) | _row(seed, found[seed]) for seed in found]
    best = _bold(entries)
    shape = Grid(
        exhibit["name"], exhibit["title"], exhibit.get("caption") or "", METRIC, down, across,
        list(dict.fromkeys(row for row, _ in best)), list(dict.fromkeys(column for _, column in best)),
        best, {}, _sentences(exhibit, cells, best),
    )  # fmt: skip
    files = {"md": markdown_table(shape), "tex": tex_table(shape, exhibit), "html": html(shape)}
    return files | {"csv": csv_text([*axes, *COLUMNS], told)}


def compression(empty: Mapping[float, float]) -> tuple[float | None, float | None]:
    """The largest log10(1 / density) before the first empty layer, and the density at which that comes.

    `empty`: by density the number of empty layers. None as the first: already the densest mask has one.
    """
    whole = None
    for density in sorted(empty, reverse=True):
        if empty[density]:
            return whole, density
        whole = -math.log10(density) + 0.0
    return whole, None


def _layers(grid: Mapping[float, Row], seed: int, empty: Mapping[tuple[str, int], float]) -> dict[float, float] | None:
    found = {d: empty.get((cell["id"], seed)) for d, cell in grid.items() if seed in cell["seeds"]}
    return None if None in found.values() else {d: value for d, value in found.items() if value is not None}


def _entry(found: Mapping[int, tuple[float | None, float | None]], seeds: Sequence[int], thinnest: float) -> Entry:
    result = summary([c for c, _ in found.values()], len(seeds))
    runs = Runs("", {}, tuple(seeds), {})
    count = f"{len(found)} of {len(seeds)}" if len(found) < len(seeds) else ""
    if result.mean is None:
        return Entry(runs, result, None, "none" if found else ABSENT, count)
    value = number(result.mean, METRIC.digits)
    if all(first is None for _, first in found.values()):
        return Entry(runs, result, None, f"≥ {number(-math.log10(thinnest), METRIC.digits)}", count)
    if result.half_width is not None:
        value += f" ± {number(result.half_width, METRIC.digits)}"
    return Entry(runs, result, None, value, count)


def _bold(entries: Mapping[tuple[Key, Key], Entry]) -> dict[tuple[Key, Key], Entry]:
    means: dict[Key, list[float]] = {}
    for (row, _), entry in entries.items():
        means.setdefault(row, []).extend([] if entry.summary.mean is None else [entry.summary.mean])
    return {
        place: replace(entry, best=len(means[place[0]]) > 1 and entry.summary.mean == max(means[place[0]]))
        for place, entry in entries.items()
    }


def _sentences(
    exhibit: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], entries: Mapping[tuple[Key, Key], Entry]
) -> list[str]:
    densities = sorted({float(cell["axes"][AXIS]) for cell in cells}, reverse=True)
    planned = sorted({entry.summary.planned for entry in entries.values()})
    grid = ", ".join(number(-math.log10(density), METRIC.digits) for density in densities)
    return [
        f"Entries: {METRIC.meaning}; mean ± half-width of the {LEVEL * 100:.0f} % t-interval over n seeds (n = "
        f"{' to '.join(map(str, dict.fromkeys((planned[0], planned[-1]))))}). The grid: {grid}. ≥: the thinnest masks "
        "of the grid are still whole. Bold: the highest of a row.",
        *(exhibit.get("footnotes") or ()),
    ]


def _row(seed: int, found: tuple[float | None, float | None]) -> dict[str, Any]:
    whole, first = found
    bound = "at least" if first is None and whole is not None else "exact"
    return {"seed": seed, "log10_compression": whole, "bound": bound, "empty_from": first}
