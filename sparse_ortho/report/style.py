"""How figures look, and how they become bytes: equal figures, equal bytes, on any day and in any process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's colours for all kinds of colour vision; the first one is the reference (black on white is for axes)
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#a6761d")
DASHES = ("-", "--", ":", "-.")  # a second sign beside colour: the next dash with every round of the palette
DIVERGING = "RdBu_r"
INACTIVE = "#e4e6ea"
ACTIVE_ZERO = "#f2c14e"
INK, QUIET = "#1f2430", "#6b7280"

RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9aa1ad",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "figure.facecolor": "white",
    "figure.titlesize": 11,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "savefig.dpi": 160,
    "svg.fonttype": "path",  # the reader's machine may lack the font
    "svg.hashsalt": "sparse-ortho",
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


@contextmanager
def styled() -> Iterator[None]:
    """The project's rc on top of matplotlib's own defaults: a matplotlibrc of the user's changes no bytes."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def to_bytes(figure: Figure) -> dict[str, bytes]:
    """{"svg", "png"} without date, creator or version."""
    drawn = {}
    for kind, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        target = io.BytesIO()
        figure.savefig(target, format=kind, metadata=metadata)
        drawn[kind] = target.getvalue()
    return drawn


def line_style(index: int) -> dict[str, Any]:
    rounds, place = divmod(index, len(PALETTE))
    return {"color": PALETTE[place], "linestyle": DASHES[rounds % len(DASHES)]}
