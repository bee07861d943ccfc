"""Width factors of random networks against density: what suffices, what is least, what is necessary; and failures.

Above, the factors, logarithmic, a panel a value of `panels`; below, how often a network as wide as suffices fails,
drawn and exact, against what the theorem allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sparse_ortho.report.benched import plainly
from sparse_ortho.report.collect import key, ordered
from sparse_ortho.report.measured import measured
from sparse_ortho.report.multiples import PANEL_WIDTH, panel_title, say_empty
from sparse_ortho.report.style import INK, PALETTE, QUIET, new_figure, styled, to_bytes
from sparse_ortho.report.text import csv_text, show

READS = "benches"  # what its rule hands it, read by the plan
SHOWS = {"name": "widths"}  # the one that it draws
FACTORS = {
    "strong": "strong ticket, up to a constant (T3)",
    "sufficient": "sufficient (T1)",
    "smallest": "smallest that fails no more often",
    "necessary": "necessary, univariate (T2)",
}
FAILURES = ("failures", "failures_exact", "delta")
Row = Mapping[str, Any]


def render(exhibit: Row, cells: Sequence[Row], rows: Iterable[Row]) -> dict[str, Any]:
    """{"svg": bytes, "png": bytes, "csv": str} of cells of the bench `widths`."""
    told, shown = plainly(exhibit, cells)
    points = measured(exhibit["name"], shown, rows, [*FACTORS, *FAILURES])
    panels = list(told["panels"])
    keys = ordered([cell["axes"] for cell in shown], panels)
    lines = {
        panel: sorted((c for c in shown if key(c["axes"], panels) == panel), key=lambda c: float(c["axes"]["density"]))
        for panel in keys
    }
    with styled():
        drawn = to_bytes(_draw(panels, lines, points))
    return {**drawn, "csv": _csv(panels, lines, points)}


def _draw(panels: Sequence[str], lines: Mapping[Any, Sequence[Row]], points: Any) -> Figure:
    figure = new_figure(max(5.6, PANEL_WIDTH * len(lines) + 2.6), 4.2)
    grid: Any = figure.subplots(2, len(lines), sharex=True, sharey="row", squeeze=False, height_ratios=(2, 1))
    for (panel, cells), (above, below) in zip(lines.items(), grid.T, strict=True):
        above.set_title(panel_title(panels, panel))
        there = [cell for cell in cells if points[cell["id"], "sufficient"]["n"]]
        if not there:
            say_empty(above)
            continue
        x = [float(cell["axes"]["density"]) for cell in there]
        for number, (name, label) in enumerate(FACTORS.items()):
            y = [points[cell["id"], name]["mean"] for cell in there]
            dashes = "-" if name == "smallest" else "--"
            above.plot(x, y, dashes, marker="o", markersize=3, color=PALETTE[number], linewidth=1.3, label=label)
        drawn, exact, allowed = ([points[cell["id"], name]["mean"] for cell in there] for name in FAILURES)
        below.plot(x, allowed, color=QUIET, linewidth=1, label="failures that the theorem allows")
        below.plot(x, exact, "--", color=PALETTE[1], linewidth=1.2, label="of sufficient width, exact")
        below.plot(x, drawn, "o", color=INK, markersize=3.4, label="the same, drawn")
        above.set_yscale("log")
        above.set_xscale("log")
        below.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        below.xaxis.set_minor_locator(NullLocator())
        below.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show(float(f"{value:.4g}"))))
    grid[0, 0].set_ylabel("width factor")
    grid[1, 0].set_ylabel("share that fails")
    grid[1, 0].set_ylim(bottom=0)
    figure.supxlabel("density of the random network", fontsize=9)
    found = [axes.get_legend_handles_labels() for axes in (grid[0, 0], grid[1, 0])]
    handles, labels = ([item for pair in found for item in pair[part]] for part in (0, 1))
    figure.legend(handles, labels, loc="outside right upper", labelspacing=0.8)
    figure.align_ylabels()
    return figure


def _csv(panels: Sequence[str], lines: Mapping[Any, Sequence[Row]], points: Any) -> str:
    names = [*FACTORS, *FAILURES]
    rows = [
        {axis: cell["axes"][axis] for axis in [*panels, "density"]}
        | {name: points[cell["id"], name]["mean"] for name in names}
        | {"n": points[cell["id"], "sufficient"]["n"], "cell": cell["id"]}
        for cells in lines.values()
        for cell in cells
    ]
    return csv_text([*panels, "density", *names, "n", "cell"], rows)
