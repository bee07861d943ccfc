"""An exhibit's table in four forms: Markdown, LaTeX (booktabs), HTML and long CSV, all of one grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.report.collect import Key, Row
from sparse_ortho.report.html_table import html
from sparse_ortho.report.pivot import Entry, Grid, grid
from sparse_ortho.report.statistics import summary
from sparse_ortho.report.text import ABSENT, csv_text, markdown, one_line, tex

STATUSES = ("ok", "diverged", "refused", "missing")
COMPARED = ("difference", "difference_low", "difference_high", "p_welch", "p_holm")


READS = "records"  # what its rule hands it, read by the plan


def render(
    exhibit: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    records: Iterable[Row],
    published: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """{"md", "tex", "html", "csv"} of a table exhibit; what each entry says is decided once, in `pivot`."""
    shape = grid(exhibit, cells, records, published)
    files = {"md": markdown_table(shape), "tex": tex_table(shape, exhibit), "html": html(shape)}
    return files | {"csv": _csv(shape, exhibit)}


def markdown_table(shape: Grid) -> str:
    head = [*shape.rows, *(_column_head(shape, k) for k in shape.column_keys)]
    lines = [[markdown(word) for word in head]]
    for row in shape.row_keys:
        found = [shape.entries.get((row, column)) for column in shape.column_keys]
        lines.append([*map(markdown, row), *(_markdown_entry(entry) for entry in found)])
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    labels = len(shape.rows)
    rule = ["-" * width if i < labels else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    padded = [[w.ljust(n) if i < labels else w.rjust(n) for i, (w, n) in enumerate(zip(line, widths, strict=True))]
              for line in lines]  # fmt: skip
    table = "\n".join("| " + " | ".join(line) + " |" for line in [padded[0], rule, *padded[1:]])
    below = [markdown(shape.caption), *map(markdown, shape.sentences)]
    notes = "\n".join(f"- [{mark}] {markdown(note)}" for mark, note in shape.marked.items())
    return "\n\n".join(part for part in [f"## {markdown(shape.title)}", table, *below, notes] if part) + "\n"


def _column_head(shape: Grid, place: Key) -> str:
    """Its words; a number says of what: density 0.2."""
    said = [f"{axis.rpartition('.')[2]} {word}" if _number(word) else word
            for axis, word in zip(shape.columns, place, strict=True)]  # fmt: skip
    return ", ".join(said) or shape.metric.name


def _number(word: str) -> bool:
    return word.replace(".", "", 1).replace("e-", "", 1).isdigit()


def _markdown_entry(entry: Entry | None) -> str:
    if entry is None:
        return ABSENT
    value = f"**{entry.value}**" if entry.best else entry.value
    marks = [f"[{mark}]" for mark in entry.marks]
    difference = markdown(entry.difference)
    return " ".join(part for part in (value, entry.beside, difference, entry.count, *marks) if part)


def tex_table(shape: Grid, exhibit: Mapping[str, Any]) -> str:
    labels, width = len(shape.rows), len(shape.column_keys)
    label = f"tab:{exhibit['study']}-{exhibit['scale']}-{shape.name}".replace("_", "-")
    head = []
    if shape.columns:
        spans = rf"\multicolumn{{{width}}}{{c}}{{{tex(', '.join(shape.columns))}}} \\"
        rule = rf" \cmidrule(l){{{labels + 1}-{labels + width}}}"
        head.append(("& " * labels) + spans + rule)
    names = [" / ".join(k) if k else shape.metric.name for k in shape.column_keys]
    head.append(" & ".join(map(tex, (*shape.rows, *names))) + r" \\")
    body, previous = [], None
    for row in shape.row_keys:
        found = [_tex_entry(shape.entries.get((row, column))) for column in shape.column_keys]
        if previous and labels > 1 and row[0] != previous[0]:
            body.append(r"\addlinespace")
        body.append(" & ".join([*_spoken_once(row, previous), *found]) + r" \\")
        previous = row
    below = [tex(sentence) for sentence in shape.sentences]
    below += [rf"\textsuperscript{{{mark}}}~{tex(note)}" for mark, note in shape.marked.items()]
    caption = " ".join(tex(one_line(text).rstrip(".") + ".") for text in (shape.title, shape.caption) if text)
    return "\n".join([
        r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering",
        rf"\caption{{{caption}}}", rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{'l' * labels}{'r' * width}}}", r"\toprule", *head, r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}", r"\par\medskip", r"\begin{minipage}{\linewidth}\footnotesize", "\n\n".join(below),
        r"\end{minipage}", r"\end{table}",
    ]) + "\n"  # fmt: skip


def _spoken_once(row: Key, previous: Key | None) -> list[str]:
    """A row label is left out while it and those before it repeat the row above."""
    repeats = 0
    while previous and repeats < len(row) - 1 and row[repeats] == previous[repeats]:
        repeats += 1
    return ["" if i < repeats else tex(word) for i, word in enumerate(row)]


def _tex_entry(entry: Entry | None) -> str:
    if entry is None:
        return tex(ABSENT)
    value = rf"\textbf{{{tex(entry.value)}}}" if entry.best else tex(entry.value)
    marks = "".join(rf"\textsuperscript{{{mark}}}" for mark in entry.marks)
    return " ".join(part for part in (value, *map(tex, (entry.beside, entry.difference, entry.count))) if part) + marks


def _csv(shape: Grid, exhibit: Mapping[str, Any]) -> str:
    """Long form: a row a cell, in the order of the table."""
    places = [(row, column) for row in shape.row_keys for column in shape.column_keys]
    entries = [shape.entries[place] for place in places if place in shape.entries]
    axes = list(dict.fromkeys([*shape.rows, *shape.columns, *sorted({n for e in entries for n in e.runs.axes})]))
    others = sorted({status for entry in entries for status in entry.runs.counts()} - set(STATUSES))
    statuses = [*STATUSES, *others]
    rows = []
    for entry in entries:
        facts, counts = entry.summary, entry.runs.counts()
        told = {name: entry.runs.axes.get(name) for name in axes} | {status: counts[status] for status in statuses}
        rows.append(told | {
            "study": exhibit["study"], "scale": exhibit["scale"], "exhibit": shape.name, "cell": entry.runs.cell,
            "metric": shape.metric.name, "n": facts.n, "planned": facts.planned,
            "mean": facts.mean, "half_width": facts.half_width, "std": facts.std,
            "density_measured": summary(entry.runs.values("density"), facts.planned).mean,
            "published_mean": entry.published and entry.published["mean"],
            "published_se": entry.published and entry.published["se"],
            "published_source": entry.published and entry.published["source"],
        } | (_compared(entry) if exhibit.get("baseline") else {}))  # fmt: skip
    columns = ["study", "scale", "exhibit", *axes, "metric", "n", "planned", "mean", "half_width", "std", *statuses,
               "density_measured", "published_mean", "published_se", "published_source", "cell"]  # fmt: skip
    return csv_text(columns + (list(COMPARED) if exhibit.get("baseline") else []), rows)


def _compared(entry: Entry) -> dict[str, Any]:
    """The comparison with the exhibit's baseline in numbers."""
    if entry.against is None:
        return dict.fromkeys(COMPARED)
    gap = entry.against.gap
    return dict(zip(COMPARED, (gap.mean, gap.low, gap.high, gap.p, entry.against.p), strict=True))
