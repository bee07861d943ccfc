"""Results against density beside those of papers: what was trained here with lines, what was published as hollow marks.

Bars are 95 % intervals: t over the seeds, and 1.96 standard errors where a paper gives one. A published row that speaks
of none of the cells (another method) is a mark of its own if its data set and model are those of the panel. A dense
network is a horizontal line. With `log_y` an accuracy is drawn as the error, 100 less it, on a logarithmic scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sparse_ortho.report.collect import Key, by_cell, key, ordered, unique
from sparse_ortho.report.metrics import metric
from sparse_ortho.report.multiples import PANEL_WIDTH, check_axes, legend_beside, panel_keys, panel_title, say_empty
from sparse_ortho.report.published import UNSPOKEN, match, same
from sparse_ortho.report.statistics import summary
from sparse_ortho.report.style import INK, PALETTE, QUIET, new_figure, styled, to_bytes
from sparse_ortho.report.text import ABSENT, csv_text, show

READS = "records"  # what its rule hands it, read by the plan
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
NORMAL = 1.96
DENSE = ("dense",)
TICKS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)  # of a decade: errors seldom span one


@dataclass(frozen=True)
class Dot:
    """One place of the figure; `width` is the half-width of its interval, if there is one."""

    panel: Key
    line: Key  # its hue and its dash; a published one of no cell has the name of its method
    density: float
    mean: float
    width: float | None
    source: str  # "" of our own
    cell: str = ""


def render(
    exhibit: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    records: Iterable[Mapping[str, Any]],
    published: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str}; the csv has every mark of the figure."""
    panels = tuple(exhibit.get("panels") or ())
    signs = tuple(name for name in (exhibit.get("hue"), exhibit.get("dash")) if name)
    check_axes(exhibit["name"], cells, {"panels": panels, "hue": signs})
    unique(exhibit["name"], cells, (*panels, *signs, "density"))
    dots = [*_ours(exhibit, cells, records, panels, signs), *_theirs(exhibit, cells, published, panels, signs)]
    sparse = [cell["axes"] for cell in cells if cell["axes"]["density"] != 1]
    keys, lines = panel_keys(cells, panels), [*ordered(sparse, signs), DENSE]
    with styled():
        drawn = to_bytes(_draw(exhibit, panels, keys, lines, dots))
    told = [
        dict(zip(panels, dot.panel, strict=True))
        | {"method": _name(dot.line), "density": dot.density, "mean": dot.mean, "half_width": dot.width}
        | {"source": dot.source or "trained here", "cell": dot.cell}
        for dot in dots
    ]
    return {**drawn, "csv": csv_text([*panels, "method", "density", "mean", "half_width", "source", "cell"], told)}


def _ours(exhibit: Any, cells: Any, records: Any, panels: Sequence[str], signs: Sequence[str]) -> Iterable[Dot]:
    for runs in by_cell(cells, records):
        found = summary(runs.values(exhibit["metric"]), len(runs.seeds))
        if found.mean is not None:
            place = key(runs.axes, panels), _line(runs.axes, signs), float(runs.axes["density"])
            yield Dot(*place, found.mean, found.half_width, "", runs.cell)


def _theirs(exhibit: Any, cells: Any, published: Any, panels: Sequence[str], signs: Sequence[str]) -> Iterable[Dot]:
    name, spoken = exhibit["name"], []
    for cell in cells:
        axes = cell["axes"]
        if row := match(published, name, axes, exhibit["metric"]):
            spoken.append(row)
            yield _dot(row, key(axes, panels), _line(axes, signs), float(axes["density"]), cell["id"])
    homes = {key(cell["axes"], panels): cell["axes"] for cell in cells}
    for row in published:
        silent = row["mean"] is not None and not any(row is other for other in spoken)
        if silent and row["density"] and exhibit["metric"] in (row["metric"], UNSPOKEN.get(row["metric"])):
            for panel, axes in homes.items():
                if all(same(row[field], axes.get(of)) for field, of in (("dataset", "data"), ("model", "model"))):
                    yield _dot(row, panel, (row["method"],), row["density"], "")


def _line(axes: Mapping[str, Any], signs: Sequence[str]) -> Key:
    return DENSE if axes["density"] == 1 else key(axes, signs)


def _dot(row: Mapping[str, Any], panel: Key, line: Key, density: float, cell: str) -> Dot:
    return Dot(panel, line, density, row["mean"], row["se"] and NORMAL * row["se"], row["source"], cell)


def _draw(
    exhibit: Mapping[str, Any], panels: Sequence[str], keys: Sequence[Key], lines: Sequence[Key], dots: Sequence[Dot]
) -> Any:
    others = list(dict.fromkeys(dot.line for dot in dots if dot.source and dot.line not in lines))
    looks = {line: INK if line == DENSE else PALETTE[i % len(PALETTE)] for i, line in enumerate(lines)}
    entries = len(lines) + len(others) + 5
    figure = new_figure(max(6.4, 1.35 * PANEL_WIDTH * len(keys) + 2.6), max(3.4, 0.2 * entries + 0.6))
    grid: Any = figure.subplots(1, len(keys), sharey=True, squeeze=False)
    error = bool(exhibit.get("log_y")) and "accuracy" in exhibit["metric"]
    for axes, panel in zip(grid[0], keys, strict=True):
        mine = [dot for dot in dots if dot.panel == panel]
        _panel(axes, mine, looks, others, error)
        axes.set_title(panel_title(panels, panel))
        axes.set_xlabel("weights kept")
        if exhibit.get("log_x") and any(dot.density < 1 for dot in mine):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        if exhibit.get("log_y") and mine:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=TICKS))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        if not mine:
            say_empty(axes)
    meaning = metric(exhibit["metric"]).meaning
    grid[0, 0].set_ylabel(meaning.replace("accuracy", "error") if error else meaning)
    legend_beside(figure, _legend(looks, others, dots))
    return figure


def _panel(axes: Axes, dots: Sequence[Dot], looks: Mapping[Key, str], others: Sequence[Key], error: bool) -> None:
    def height(mean: float) -> float:
        return 100 - mean if error else mean

    for source in (False, True):
        for line in [*looks, *others]:
            found = sorted((d for d in dots if d.line == line and bool(d.source) == source), key=lambda d: d.density)
            colour = looks.get(line, QUIET)
            if dense := [dot for dot in found if dot.density == 1]:
                axes.axhline(height(dense[0].mean), color=colour, linestyle=":" if source else "-", linewidth=1.1)
                found = [dot for dot in found if dot.density != 1]
            if not found:
                continue
            marker = MARKERS[others.index(line) % len(MARKERS)] if line in others else "o"
            look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.2}
            look |= {"linestyle": "", "markerfacecolor": "white", "zorder": 1.8} if source else {"linestyle": "-"}
            bars = [dot.width or 0.0 for dot in found]
            axes.errorbar([d.density for d in found], [height(d.mean) for d in found], bars, elinewidth=0.9, **look)


def _legend(looks: Mapping[Key, str], others: Sequence[Key], dots: Sequence[Dot]) -> dict[str, list[Artist]]:
    shown = {dot.line for dot in dots}
    ours: list[Artist] = [
        Line2D([], [], color=colour, label=_name(line)) for line, colour in looks.items() if line in shown
    ]
    hollow: dict[str, Any] = {"linestyle": "", "markerfacecolor": "white", "markersize": 4.5}
    papers: list[Artist] = [
        Line2D([], [], color=QUIET, marker=MARKERS[i % len(MARKERS)], label=show(line[0]), **hollow)
        for i, line in enumerate(others)
    ]
    signs: list[Artist] = [Line2D([], [], color=INK, marker="o", markersize=4.5, label="trained here")]
    if any(dot.source for dot in dots):
        signs.append(Line2D([], [], color=INK, marker="o", label="published", **hollow))
    return {"method": ours, "": signs, "published only": papers}


def _name(line: Key) -> str:
    return ", ".join(word for word in line if word != ABSENT) or "mean"
