"""One exhibit as a grid of entries: row axes against column axes, with the notes that its entries need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.report import baseline
from sparse_ortho.report.collect import Key, Row, Runs, by_cell, key, ordered, unique
from sparse_ortho.report.metrics import Metric, metric
from sparse_ortho.report.published import match
from sparse_ortho.report.statistics import LEVEL, Summary, summary
from sparse_ortho.report.text import ABSENT, number

EXTRA = ("extra_parameters", "extra_parameters_kept")
NO_PUBLISHED = "No published value is known for these cells."


@dataclass(frozen=True)
class Entry:
    """What one place of the table says; `count` is "2 of 3" where fewer runs finished than planned."""

    runs: Runs
    summary: Summary
    published: Mapping[str, Any] | None
    value: str
    count: str = ""
    beside: str = ""
    marks: tuple[str, ...] = ()
    best: bool = False
    against: baseline.Against | None = None  # the baseline, if the exhibit names one
    difference: str = ""


@dataclass(frozen=True)
class Grid:
    name: str
    title: str
    caption: str
    metric: Metric
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_keys: Sequence[Key]
    column_keys: Sequence[Key]
    entries: Mapping[tuple[Key, Key], Entry]
    marked: Mapping[str, str] = field(default_factory=dict)  # mark -> the note it stands for
    sentences: Sequence[str] = ()  # below the caption: what the entries are, then the exhibit's own footnotes


def grid(
    exhibit: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    records: Iterable[Row],
    published: Sequence[Mapping[str, Any]],
) -> Grid:
    rows, columns = tuple(exhibit["rows"]), tuple(exhibit["columns"])
    unique(exhibit["name"], cells, rows + columns)
    measured = metric(exhibit["metric"])
    if (digits := exhibit.get("digits")) is not None:
        measured = replace(measured, digits=digits)
    runs = by_cell(cells, records)
    _known(exhibit, runs)
    known = published if exhibit.get("published") else ()
    entries = {(key(r.axes, rows), key(r.axes, columns)): _entry(r, measured, known, exhibit["name"]) for r in runs}
    cited = any(entry.published for entry in entries.values())
    if cited:
        entries = {place: _with_published(entry, measured) for place, entry in entries.items()}
    axes = [cell["axes"] for cell in cells]
    row_keys, column_keys = ordered(axes, rows), ordered(axes, columns)
    if named := exhibit.get("baseline"):
        ran = {place: entry.runs for place, entry in entries.items()}
        gaps = baseline.against(named, rows + columns, len(rows), ran, measured.name)
        for place, gap in gaps.items():
            entries[place] = replace(entries[place], against=gap, difference=gap.words(measured))
    best = _best(entries, measured, exhibit.get("chosen"))
    entries, marked = _marked(best, [(r, c) for r in row_keys for c in column_keys])
    sentences = _sentences(exhibit, list(entries.values()), measured, cited)
    return Grid(
        exhibit["name"], exhibit["title"], exhibit.get("caption") or "",
        measured, rows, columns, row_keys, column_keys, entries, marked, sentences,
    )  # fmt: skip


def _known(exhibit: Mapping[str, Any], runs: Sequence[Runs]) -> None:
    """A misspelt metric would otherwise be a table of dashes."""
    names = {name for run in runs for row in run.rows.values() for name in row}
    if names and exhibit["metric"] not in names:
        allowed = sorted(names - {"cell", "seed", "status", "reason"})
        raise UserError(f"exhibit {exhibit['name']}, metric", found=exhibit["metric"], allowed=allowed)


def _entry(runs: Runs, measured: Metric, published: Sequence[Mapping[str, Any]], exhibit: str) -> Entry:
    result = summary(runs.values(measured.name), len(runs.seeds))
    row = match(published, exhibit, runs.axes, measured.name) if published else None
    if result.n == 0:
        refused = runs.counts()["refused"] == len(runs.seeds) > 0
        count = f"0 of {result.planned}"
        return Entry(runs, result, row, "refused" if refused else ABSENT, "" if refused else count)
    value = number(result.mean, measured.digits)
    if result.half_width is not None:
        digits = measured.digits
        value += f" ± {f'{result.half_width:.2g}' if digits is None else number(result.half_width, digits)}"
    return Entry(runs, result, row, value, f"{result.n} of {result.planned}" if result.n < result.planned else "")


def _with_published(entry: Entry, measured: Metric) -> Entry:
    mean = entry.published["mean"] if entry.published else None
    return replace(entry, beside=f"({number(mean, measured.digits)})")


def _best(
    entries: Mapping[tuple[Key, Key], Entry], measured: Metric, chosen: Sequence[str] | None
) -> dict[tuple[Key, Key], Entry]:
    """Bold is the best mean of a row that has something to compare, claiming no significance; or a trial `chosen`."""
    if chosen is not None:
        return {place: replace(entry, best=entry.runs.cell in chosen) for place, entry in entries.items()}
    means: dict[Key, list[float]] = {}
    for (row, _), entry in entries.items():
        if entry.summary.mean is not None:
            means.setdefault(row, []).append(measured.better * entry.summary.mean)

    def best(row: Key, entry: Entry) -> bool:
        mean, others = entry.summary.mean, means.get(row, [])
        return bool(measured.better) and mean is not None and len(others) > 1 and measured.better * mean == max(others)

    return {place: replace(entry, best=best(place[0], entry)) for place, entry in entries.items()}


def _marked(
    entries: Mapping[tuple[Key, Key], Entry], places: Sequence[tuple[Key, Key]]
) -> tuple[dict[tuple[Key, Key], Entry], dict[str, str]]:
    """Letters for the notes, in reading order, one letter for equal notes."""
    letters: dict[str, str] = {}
    marked = dict(entries)
    for place in places:
        if place in entries and (note := _note(entries[place])):
            letter = letters.setdefault(note, _letter(len(letters)))
            marked[place] = replace(entries[place], marks=(letter,))
    return marked, {letter: note for note, letter in letters.items()}


def _note(entry: Entry) -> str:
    """Why runs are absent: "2 of 3: diverged (loss is not finite)"; and what was trained besides the network."""
    return "; ".join(filter(None, (_absent(entry), _extra(entry))))


def _extra(entry: Entry) -> str:
    """Parameters that the plain network does not have, as a trick adds them for a while or for good."""
    size, kept = (max(map(int, entry.runs.values(name)), default=0) for name in EXTRA)
    if not size:
        return ""
    ends = "; the evaluated network has them" if kept == size else "; the evaluated network does not have them"
    return f"trained with {size:,} parameters more than the network has" + ends


def _absent(entry: Entry) -> str:
    if not entry.count and entry.value != "refused":
        return ""
    told = []
    for status, times in sorted(entry.runs.counts().items()):
        if status != "ok":
            reasons = "; ".join(entry.runs.reasons(status))
            told.append((f"{times} " if times > 1 else "") + status + (f" ({reasons})" if reasons else ""))
    unvalued = entry.runs.counts()["ok"] - entry.summary.n
    if unvalued > 0:
        told.append(f"{unvalued} finished without this metric")
    if entry.value == "refused":
        return "refused: " + ("; ".join(entry.runs.reasons("refused")) or "no reason recorded")
    return f"{entry.count}: {', '.join(told)}"


def _letter(index: int) -> str:
    return (_letter(index // 26 - 1) if index >= 26 else "") + chr(ord("a") + index % 26)


def _sentences(exhibit: Mapping[str, Any], entries: Sequence[Entry], measured: Metric, cited: bool) -> list[str]:
    planned = sorted({entry.summary.planned for entry in entries})
    seeds = f"n = {planned[0]}" if len(planned) == 1 else f"n = {planned[0]} to {planned[-1]}" if planned else "n = 0"
    spread = f"mean ± half-width of the {LEVEL * 100:.0f} % t-interval over n seeds ({seeds}"
    spread += "; one seed has no interval)" if planned and planned[0] == 1 else ")"
    told = [f"Entries: {measured.meaning}; {spread}."]
    if exhibit.get("chosen") is not None:
        told[0] += " Bold: the trial that was chosen."
    elif any(entry.best for entry in entries):
        told[0] += f" Bold: the {'highest' if measured.better > 0 else 'lowest'} mean of a row."
    if cited:
        sources = dict.fromkeys(entry.published["source"] for entry in entries if entry.published)
        told.append(
            f"In parentheses: the published mean, ({ABSENT}) where none is known. Source: {'; '.join(sources)}."
        )
    elif exhibit.get("published"):
        told.append(NO_PUBLISHED)
    if compared := [entry.against for entry in entries if entry.against]:
        told.append(baseline.sentence(exhibit["baseline"], compared))
    return told + list(exhibit.get("footnotes") or ())
