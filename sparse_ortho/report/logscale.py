"""A logarithmic axis with a place for zero: below the smallest value that is more than rounding, labelled 0.

A linear stretch around zero (symlog) would need a threshold that fits no two figures, and spends half the panel on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from sparse_ortho.report.style import QUIET

ROUNDING = 1e-7  # of the largest value that is drawn: a float32 result below it is zero as far as anyone can tell
HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "linestyle": "", "zorder": 4, "clip_on": False}


@dataclass(frozen=True)
class LogScale:
    """The decades of an axis, and where on it zero is, if any value needs that."""

    low: float
    high: float
    zero: float | None
    rounded: bool  # some of what stands at zero is not exactly 0

    def is_zero(self, value: float) -> bool:
        return self.zero is not None and value < self.low

    def apply(self, axes: Axes) -> None:
        """Ticks at decades, at 1, 2, 5 where decades are few, and at zero."""
        axes.set_yscale("log", nonpositive="mask")
        span = max(math.log10(self.high / self.low), 0.2)
        start = self.zero or self.low
        axes.set_ylim(start * 10 ** (-0.06 * span), self.high * 10 ** (0.08 * span))
        # LogLocator falls back to evenly spaced ticks where not even two of these are in view
        locator = LogLocator(subs=(1.0, 2.0, 5.0)) if span < 1.6 else LogLocator(numticks=5)
        ends = self.low * 10 ** (-0.1 * span) if self.zero is None else self.low, self.high * 10 ** (0.08 * span)
        ticks = [float(tick) for tick in locator.tick_values(*ends) if ends[0] <= tick <= ends[1]]
        if self.zero is not None:
            ticks = [self.zero, *ticks]
            axes.axhline(self.zero, color=QUIET, linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == self.zero else _short(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())


def log_scale(values: Iterable[float], largest: float) -> LogScale | None:
    """The scale for these values, where `largest` is that of the whole figure; None without a positive value."""
    values = list(values)
    found = [value for value in values if value > max(0.0, ROUNDING * largest)]
    if not found:
        return None
    low, high = min(found), max(found)
    below = 10 ** -max(0.3, 0.15 * math.log10(high / low))
    zeros = [value for value in values if value < low]
    return LogScale(low, high, low * below if zeros else None, any(zeros))


def placed(scale: LogScale | None, points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The points where they are drawn."""
    parts = ("mean", "min", "max")
    if scale is None:
        return [dict(point) for point in points]
    return [
        {**point, **{p: scale.zero if point[p] is not None and scale.is_zero(point[p]) else point[p] for p in parts}}
        for point in points
    ]


def mark_zeros(
    axes: Axes, scale: LogScale | None, points: Sequence[Mapping[str, Any]], look: Mapping[str, Any]
) -> None:
    """Hollow markers over the means that are not where the scale says, but at zero's place."""
    if scale is None or scale.zero is None:
        return
    zeros = [point["x"] for point in points if point["mean"] is not None and scale.is_zero(point["mean"])]
    if zeros:  # an empty line that is not clipped would spoil the layout
        hollow: dict[str, Any] = {"marker": "o"} | dict(look) | HOLLOW
        axes.plot(zeros, [scale.zero] * len(zeros), **hollow)


def zero_handles(scales: Iterable[LogScale]) -> list[Artist]:
    """The legend's word for hollow markers, where any axis has them."""
    shown = [scale for scale in scales if scale.zero is not None]
    told = f"0, or under {_short(ROUNDING)}\nof the largest" if any(scale.rounded for scale in shown) else "0"
    look = {"color": QUIET, "marker": "o", "markersize": 4} | HOLLOW
    return [Line2D([], [], label=told, **look)] if shown else []


def _short(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e+")
