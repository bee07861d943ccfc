"""A factorial: what each of a few switches changes by itself and together with each other one.

`rows` of the exhibit are the factors, each with two levels, in the order in which its cells name them; `columns` are
what the effects are told apart by, and all other axes are, with the seed, what runs are paired by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import Key, Row, Runs, by_cell, key, ordered, unique
from sparse_ortho.report.effects import Effect, Fit, fitted
from sparse_ortho.report.html_table import html
from sparse_ortho.report.metrics import Metric, metric
from sparse_ortho.report.pivot import Entry, Grid
from sparse_ortho.report.statistics import LEVEL, Summary, holm
from sparse_ortho.report.tables import markdown_table, tex_table
from sparse_ortho.report.text import ABSENT, csv_text, number, show

READS = "records"  # what its rule hands it, read by the plan
MEAN = "mean of all runs"
COLUMNS = ("effect", "factor", "with", "estimate", "half_width", "p", "p_holm", "n", "planned", "freedom", "metric")


def render(
    exhibit: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    records: Iterable[Row],
    published: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """{"md", "tex", "html", "csv"}."""
    factors, columns, axes = tuple(exhibit["rows"]), tuple(exhibit["columns"]), [cell["axes"] for cell in cells]
    levels = {factor: _levels(exhibit, factor, axes) for factor in factors}
    unique(exhibit["name"], cells, sorted({name for cell in axes for name in cell}))
    measured, runs = metric(exhibit["metric"]), by_cell(cells, records)
    groups = {place: [run for run in runs if key(run.axes, columns) == place] for place in ordered(axes, columns)}
    fits = {place: _fit(found, levels, columns, measured.name) for place, found in groups.items()}
    planned = {place: sum(len(run.seeds) for run in found) for place, found in groups.items()}
    shape = _grid(exhibit, levels, fits, planned, measured)
    told = {"md": markdown_table(shape), "tex": tex_table(shape, exhibit), "html": html(shape)}
    return told | {"csv": _csv(exhibit, levels, fits, planned, measured)}


def _levels(exhibit: Mapping[str, Any], factor: str, axes: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    found = list(dict.fromkeys(show(cell.get(factor)) for cell in axes))
    if len(found) != 2:
        raise UserError(f"exhibit {exhibit['name']}, rows", f"{factor} must have two levels", found=found)
    return found[0], found[1]


def _fit(runs: Sequence[Runs], levels: Mapping[str, Sequence[str]], columns: Sequence[str], name: str) -> Fit:
    signs, values, blocks = [], [], []
    for run in runs:
        row = [2 * levels[factor].index(show(run.axes.get(factor))) - 1 for factor in levels]
        others = [axis for axis in sorted(run.axes) if axis not in levels]
        for seed, record in run.rows.items():
            for value in Runs(run.cell, run.axes, (seed,), {seed: record}).values(name):
                signs.append(row)
                values.append(value)
                blocks.append((seed, key(run.axes, others)))
    return fitted(signs, values, blocks, len(levels))


def names(effect: Effect, levels: Mapping[str, Sequence[str]]) -> str:
    """`soft: none → swish`, and `soft × ghost`."""
    found = [list(levels)[place] for place in effect.factors]
    if len(found) > 1:
        return " × ".join(map(short, found))
    return f"{short(found[0])}: {' → '.join(levels[found[0]])}"


def short(factor: str) -> str:
    return factor.rpartition(".")[2]


def _grid(
    exhibit: Mapping[str, Any],
    levels: Mapping[str, Sequence[str]],
    fits: Mapping[Key, Fit],
    planned: Mapping[Key, int],
    measured: Metric,
) -> Grid:
    entries: dict[tuple[Key, Key], Entry] = {}
    digits = None if measured.digits is None else measured.digits + 1
    for column, fit in fits.items():
        count = f"{fit.n} of {planned[column]}" if fit.n < planned[column] else ""
        entries[(MEAN,), column] = _entry(number(fit.mean, measured.digits), count, False)
        for effect in fit.effects:
            sure = effect.half_width is not None and abs(effect.estimate or 0.0) > effect.half_width
            entries[(names(effect, levels),), column] = _entry(_words(effect, digits), "", sure)
    rows: list[Key] = list(dict.fromkeys(row for row, _ in entries))
    return Grid(
        exhibit["name"], exhibit["title"], exhibit.get("caption") or "", measured, ("effect",),
        tuple(exhibit["columns"]), rows, list(fits), entries, {}, _sentences(exhibit, fits, measured),
    )  # fmt: skip


def _entry(value: str, count: str, sure: bool) -> Entry:
    return Entry(Runs("", {}, (), {}), Summary(0, 0, None, None, None), None, value, count, best=sure)


def _words(effect: Effect, digits: int | None) -> str:
    if effect.estimate is None:
        return ABSENT
    value = number(effect.estimate, digits)
    value = value.replace("-", "−") if value.startswith("-") else f"+{value}" if float(value) else value
    width = "" if effect.half_width is None else f" ± {number(effect.half_width, digits)}"
    return value + width


def _sentences(exhibit: Mapping[str, Any], fits: Mapping[Key, Fit], measured: Metric) -> list[str]:
    freedom = sorted({fit.freedom for fit in fits.values()})
    words = " to ".join(str(n) for n in dict.fromkeys((freedom[0], freedom[-1])))
    told = [
        f"Entries: change of the {measured.meaning} from the first level of a factor to the second, the mean over the "
        f"levels of all others; for two factors half of what the one changes in the effect of the other. ± half-width "
        f"of the {LEVEL * 100:.0f} % t-interval, {words} degrees of freedom, from runs paired by seed and by all axes "
        "that are no factors; interactions of three and more are part of the error. Bold: the interval excludes 0 (no "
        "correction for the number of effects; the csv has Holm's)."
    ]
    if any(effect.estimate is None for fit in fits.values() for effect in fit.effects):
        told.append(f"{ABSENT}: the runs that finished cannot tell this effect from the others.")
    return told + list(exhibit.get("footnotes") or ())


def _csv(
    exhibit: Mapping[str, Any],
    levels: Mapping[str, Sequence[str]],
    fits: Mapping[Key, Fit],
    planned: Mapping[Key, int],
    measured: Metric,
) -> str:
    about = {"study": exhibit["study"], "scale": exhibit["scale"], "exhibit": exhibit["name"], "metric": measured.name}
    columns, factors, rows = list(exhibit["columns"]), list(levels), []
    for place, fit in fits.items():
        tested = [effect.p for effect in fit.effects if effect.p is not None]
        adjusted = dict(zip([e.factors for e in fit.effects if e.p is not None], holm(tested), strict=True))
        here = about | dict(zip(columns, place, strict=True)) | {"n": fit.n, "planned": planned[place]}
        here |= {"freedom": fit.freedom}
        rows.append(here | {"effect": MEAN, "estimate": fit.mean})
        for effect in fit.effects:
            told = {"effect": names(effect, levels), "factor": factors[effect.factors[0]]}
            told |= {"with": factors[effect.factors[1]]} if len(effect.factors) > 1 else {}
            told |= {"estimate": effect.estimate, "half_width": effect.half_width, "p": effect.p}
            rows.append(here | told | {"p_holm": adjusted.get(effect.factors)})
    return csv_text(["study", "scale", "exhibit", *columns, *COLUMNS], rows)
