"""Methods beside each other under one protocol: a row a method, by the density that it ends with.

Columns: the metric; its difference to the best mean of its density, and to the dense network, each with Welch's p
by Holm over the column (the 95 % interval is in the csv); the density as measured; what the training would cost
(training_cost.py).
The best of a density is known only after the fact, so a difference to it is a little too large on average.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sparse_ortho.report import tables
from sparse_ortho.report.baseline import Against
from sparse_ortho.report.collect import Key, Row, Runs
from sparse_ortho.report.html_table import html
from sparse_ortho.report.pivot import Entry, Grid, grid
from sparse_ortho.report.statistics import LEVEL, Summary, difference, holm, summary
from sparse_ortho.report.text import ABSENT, csv_text, number
from sparse_ortho.report.training_cost import flops, share

READS = "runs"  # what its rule hands it, read by the plan: records and curves
DENSITY = "density"
BEST, DENSE, KEPT, COST = "less the best", "less dense", "kept", "training FLOPs (of dense)"
Gaps = dict[Key, Against]


def render(exhibit: Row, cells: Sequence[Row], rows: Iterable[Row], published: Sequence[Row]) -> dict[str, str]:
    """{"md", "tex", "html", "csv"} of the table."""
    lines = list(rows)
    records, curves = [row for row in lines if "epoch" not in row], [row for row in lines if "epoch" in row]
    laid = [DENSITY, *(axis for axis in exhibit["rows"] if axis != DENSITY)]
    alone = grid({**exhibit, "rows": laid, "columns": []}, cells, records, published)
    entries = {row: alone.entries[row, ()] for row in alone.row_keys}
    metric = alone.metric
    good = {row: entry for row, entry in entries.items() if entry.summary.mean is not None}
    tops = {row[0]: max(others, key=lambda r: metric.better * _mean(good[r])) for row in good
            if len(others := [r for r in good if r[0] == row[0]]) > 1}  # fmt: skip
    dense = next((row for row in good if row[0] == "1"), None)
    compared = {BEST: _gaps({row: tops.get(row[0]) for row in good}, entries, metric.name)}
    if dense:
        compared[DENSE] = _gaps({row: None if row[0] == "1" else dense for row in good}, entries, metric.name)
    costs = {row: _cost(entry.runs, curves, exhibit["protocol"]) for row, entry in entries.items()}
    shape = _shape(alone, entries, compared, costs, set(tops.values()))
    files = {"md": tables.markdown_table(shape), "tex": tables.tex_table(shape, exhibit), "html": html(shape)}
    return files | {"csv": _csv(exhibit, alone, entries, compared, costs)}


def _mean(entry: Entry) -> float:
    assert entry.summary.mean is not None
    return entry.summary.mean


def _gaps(others: Mapping[Key, Key | None], entries: Mapping[Key, Entry], metric: str) -> Gaps:
    """Each row against another one; all of them are one family."""
    values = {row: entries[row].runs.values(metric) for row in entries}
    gaps = {row: difference(values[row], values[to]) for row, to in others.items() if to is not None and to != row}
    tested = {row: gap.p for row, gap in gaps.items() if gap.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {row: Against(gap, adjusted.get(row)) for row, gap in gaps.items()}


def _cost(runs: Runs, curves: Sequence[Row], protocol: Row) -> tuple[Summary, Summary] | None:
    """FLOPs of the finished runs and their share of a dense training; None where they cannot be told."""
    sizes, done = protocol["multiply_adds"], [row for row in runs.rows.values() if row["status"] == "ok"]
    if sizes is None or not done or any(row["level"] for row in done):
        return None
    parts: list[float] = []
    for row in done:
        mine = [line for line in curves if (line["cell"], line["seed"]) == (row["cell"], row["seed"])]
        if (part := share(mine, sizes)) is None:
            return None
        parts.append(part)
    taken = [flops(part, row["steps"], protocol["batch"], sizes) for part, row in zip(parts, done, strict=True)]
    return summary(taken, len(runs.seeds)), summary(parts, len(runs.seeds))


def _shape(alone: Grid, entries: Mapping[Key, Entry], compared: Mapping[str, Gaps], costs: Any, tops: Any) -> Grid:
    """The grid of words: what each column says of each row."""
    first = alone.metric.name.replace("_", " ")
    columns = [first, *compared, KEPT, COST]
    words: dict[tuple[Key, Key], Entry] = {}
    for row, entry in entries.items():
        words[row, (first,)] = replace(entry, best=row in tops)
        plain = replace(entry, value=ABSENT, count="", beside="", marks=(), published=None)
        for name, gaps in compared.items():
            words[row, (name,)] = replace(plain, value=_difference(gaps[row], alone) if row in gaps else ABSENT)
        kept = summary(entry.runs.values("density"), entry.summary.planned).mean
        words[row, (KEPT,)] = replace(plain, value=number(kept, None))
        if (cost := costs[row]) and cost[0].mean is not None and cost[1].mean is not None:
            told = f"{cost[0].mean:.2g} ({cost[1].mean:.3f})".replace("e+0", "e").replace("e+", "e")
            words[row, (COST,)] = replace(plain, value=told)
        else:
            words[row, (COST,)] = plain
    sentences = [alone.sentences[0] + " Bold: the highest mean of a density.", *alone.sentences[1:]]
    keys = [(name,) for name in columns]
    shape = replace(alone, columns=("",), column_keys=keys, entries=words)
    return replace(shape, sentences=[*sentences[:1], *_told(compared), *sentences[1:]])


def _difference(one: Against, alone: Grid) -> str:
    """Of "[+2.1; 1.5 to 2.7; p < 0.001]" both ends: a table with the interval too is wider than a page."""
    parts = one.words(alone.metric).strip("[]").split("; ")
    return parts[0] if len(parts) < 3 else f"{parts[0]}; {parts[-1]}"


def _told(compared: Mapping[str, Gaps]) -> list[str]:
    sizes = " and ".join(f"{sum(one.p is not None for one in gaps.values())} ({name})"
                         for name, gaps in compared.items())  # fmt: skip
    return [
        f"Differences: with p (Welch's test, two-sided; by Holm for {sizes} comparisons); the csv has their "
        f"{LEVEL * 100:.0f} % intervals. The best of a density is chosen by the same runs, so what is less is a little "
        "too large.",
        "Training FLOPs: forward and backward through the weights that are kept, epoch by epoch, an estimate for a "
        "machine with free sparsity; choosing a mask, dense gradients that a rule looks at, latent weights and layers "
        f"of tricks are not counted, and of lottery tickets nothing ({ABSENT}). Times are in results/provenance: they "
        "are of a machine.",
    ]


def _csv(exhibit: Row, alone: Grid, entries: Mapping[Key, Entry], compared: Mapping[str, Gaps], costs: Any) -> str:
    """A row a method, in the order of the table, with every number of it."""
    rows: list[dict[str, Any]] = []
    for row in alone.row_keys:
        entry = entries[row]
        facts, paper, counts = entry.summary, entry.published or {}, entry.runs.counts()
        told: dict[str, Any] = dict(zip(alone.rows, row, strict=True)) | {s: counts[s] for s in tables.STATUSES}
        told |= {"study": exhibit["study"], "scale": exhibit["scale"], "exhibit": alone.name, "cell": entry.runs.cell}
        told |= {"metric": alone.metric.name, "n": facts.n, "planned": facts.planned, "mean": facts.mean}
        told |= {"half_width": facts.half_width, "std": facts.std}
        told["density_measured"] = summary(entry.runs.values("density"), facts.planned).mean
        taken, part = costs[row] or (None, None)
        told |= {"training_flops": taken and taken.mean, "training_share": part and part.mean}
        told |= {f"published_{name}": paper.get(name) for name in ("mean", "se", "source")}
        for name, short in ((BEST, "best"), (DENSE, "dense")):
            if one := compared.get(name, {}).get(row):
                values = (one.gap.mean, one.gap.low, one.gap.high, one.gap.p, one.p)
                told |= {f"less_{short}{end}": v for end, v in zip(ENDS, values, strict=True)}
        rows.append(told)
    less = [f"less_{short}{end}" for short in ("best", "dense") for end in ENDS]
    columns = ["study", "scale", "exhibit", *alone.rows, "metric", "n", "planned", "mean", "half_width", "std"]
    columns += [*tables.STATUSES, "density_measured", "training_flops", "training_share", *less]
    return csv_text([*columns, "published_mean", "published_se", "published_source", "cell"], rows)


ENDS = ("", "_low", "_high", "_p_welch", "_p_holm")
