"""A table like `table` in which a published mean has the difference to it beside it, with a 95 % interval.

    d = mean of our n seeds - published mean,    d +- t_nu sqrt(s^2 / n + se^2)
    nu: Welch-Satterthwaite; a published mean without its n counts as one whose se is known exactly

A published mean without an se has no spread of its own: the interval is then that of our seeds alone, and says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.report import tables
from sparse_ortho.report.collect import Row
from sparse_ortho.report.html_table import html
from sparse_ortho.report.pivot import Entry, Grid, grid
from sparse_ortho.report.statistics import LEVEL, Summary, quantile
from sparse_ortho.report.text import csv_text, number

READS = "records"  # what its rule hands it, read by the plan
DIGITS = 2
MINUS = "\N{MINUS SIGN}"
NO_SPREAD = "the published mean has no standard error, so the interval is that of our seeds alone"


@dataclasses.dataclass(frozen=True)
class Gap:
    """Ours less the published mean; without an interval where one seed has no spread."""

    mean: float
    half_width: float | None


def render(
    exhibit: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    records: Iterable[Row],
    published: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """{"md", "tex", "html", "csv"}; the csv is that of a table with difference, low and high."""
    told = {"digits": DIGITS, **{k: v for k, v in exhibit.items() if v is not None}, "published": True}
    shape = grid(told, cells, list(records), published)
    gaps = {place: gap(entry.summary, entry.published) for place, entry in shape.entries.items()}
    shape = _worded(shape, gaps)
    files = {"md": tables.markdown_table(shape), "tex": tables.tex_table(shape, exhibit), "html": html(shape)}
    return files | {"csv": _csv(shape, gaps)}


def gap(ours: Summary, published: Mapping[str, Any] | None) -> Gap | None:
    if ours.mean is None or published is None:
        return None
    difference = ours.mean - published["mean"]
    if ours.std is None:
        return Gap(difference, None)
    mine, theirs = ours.std**2 / ours.n, (published["se"] or 0.0) ** 2
    if mine + theirs == 0:
        return Gap(difference, 0.0)
    known = published["n"]
    share = mine / (mine + theirs)
    freedom = share**2 / (ours.n - 1) + ((1 - share) ** 2 / (known - 1) if known and known > 1 else 0.0)
    return Gap(difference, quantile(1 / freedom if freedom > 0 else math.inf) * math.sqrt(mine + theirs))


def _worded(shape: Grid, gaps: Mapping[Any, Gap | None]) -> Grid:
    """The words of a table, with (published; difference) where that is known."""
    notes = dict(shape.marked)
    entries: dict[Any, Entry] = {}
    for place in [(row, column) for row in shape.row_keys for column in shape.column_keys]:
        if (entry := shape.entries.get(place)) is None:
            continue
        found, paper = gaps[place], entry.published
        if found is not None and paper is not None:
            mean = number(paper["mean"], shape.metric.digits)
            entry = dataclasses.replace(entry, beside=f"({mean}; {signed(found, shape.metric.digits)})")
            if paper["se"] is None:
                notes["*"] = NO_SPREAD
                entry = dataclasses.replace(entry, marks=(*entry.marks, "*"))
        entries[place] = entry
    sentences = [
        sentence.replace(
            "In parentheses: the published mean,",
            f"In parentheses: the published mean; ours less that, with its {LEVEL * 100:.0f} % interval,",
        )
        for sentence in shape.sentences
    ]
    return dataclasses.replace(shape, entries=entries, marked=notes, sentences=sentences)


def signed(found: Gap, digits: int | None) -> str:
    sign = MINUS if found.mean < 0 else "+"
    width = "" if found.half_width is None else f" ± {number(found.half_width, digits)}"
    return f"{sign}{number(abs(found.mean), digits)}{width}"


def _csv(shape: Grid, gaps: Mapping[Any, Gap | None]) -> str:
    """A row a cell, in the order of the table."""
    rows = []
    for row in shape.row_keys:
        for column in shape.column_keys:
            if (entry := shape.entries.get((row, column))) is None:
                continue
            facts, paper, found = entry.summary, entry.published or {}, gaps[row, column]
            half = found.half_width if found else None
            told = dict(zip((*shape.rows, *shape.columns), (*row, *column), strict=True))
            told |= {"n": facts.n, "planned": facts.planned, "mean": facts.mean, "half_width": facts.half_width}
            told |= {f"published_{name}": paper.get(name) for name in ("mean", "se", "n", "source")}
            told |= {"difference": found and found.mean}
            told |= {"low": found.mean - half, "high": found.mean + half} if found and half is not None else {}
            rows.append(told | {"std": facts.std, "metric": shape.metric.name, "cell": entry.runs.cell})
    axes = [*shape.rows, *shape.columns]
    ours = ["metric", "n", "planned", "mean", "half_width", "std"]
    theirs = ["published_mean", "published_se", "published_n", "published_source"]
    return csv_text([*axes, *ours, *theirs, "difference", "low", "high", "cell"], rows)
