"""A grid as semantic HTML: column groups and row groups are header cells with spans; style is left to class names."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from sparse_ortho.report.collect import Key
from sparse_ortho.report.pivot import Entry, Grid
from sparse_ortho.report.text import ABSENT, one_line


def html(shape: Grid) -> str:
    caption = f'<p class="caption">{_safe(shape.caption)}</p>' if shape.caption else ""
    told = "".join(f"<li>{_safe(sentence)}</li>" for sentence in shape.sentences)
    notes = "".join(f"<li><sup>{mark}</sup> {_safe(note)}</li>" for mark, note in shape.marked.items())
    parts = [
        '<div class="exhibit-table">',
        f'<div class="scroll"><table class="results" aria-label="{_safe(shape.title)}">',
        f"<thead>\n{_head(shape)}\n</thead>",
        f"<tbody>\n{_body(shape)}\n</tbody>",
        "</table></div>",
        caption,
        f'<ul class="sentences">{told}</ul>',
        f'<ul class="notes">{notes}</ul>' if notes else "",
        "</div>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _head(shape: Grid) -> str:
    """The names of the column axes, then a line a column axis; the row axes are named in the last line."""
    width, labels = len(shape.column_keys), len(shape.rows)
    corner = f'<td colspan="{labels}"></td>' if labels else ""
    names = "".join(f'<th scope="col" class="axis">{_safe(name)}</th>' for name in shape.rows)
    if not shape.columns:
        return f'<tr>{names}<th scope="col">{_safe(shape.metric.name)}</th></tr>'
    title = _safe(", ".join(shape.columns))
    lines = [f'<tr>{corner}<th scope="colgroup" class="axis" colspan="{width}">{title}</th></tr>']
    for level in range(len(shape.columns)):
        last = level == len(shape.columns) - 1
        cells = "".join(
            f'<th scope="col">{_head_word(key[-1])}</th>'
            if last
            else f'<th scope="colgroup" colspan="{n}">{_head_word(key[-1])}</th>'
            for key, n in _spans(shape.column_keys, level)
        )
        lines.append(f"<tr>{names if last else corner}{cells}</tr>")
    return "\n".join(lines)


def _head_word(word: str) -> str:
    """A head may be broken where it joins names: ghost+smoothing+soft would widen six columns of numbers."""
    return _safe(word).replace("+", "+<wbr>")


def _body(shape: Grid) -> str:
    starts: dict[tuple[int, Key], int] = {}
    for level in range(len(shape.rows)):
        starts |= {(level, key): n for key, n in _spans(shape.row_keys, level)}
    lines, previous = [], None
    for row in shape.row_keys:
        heads = []
        for level, word in enumerate(row):
            if previous is None or row[: level + 1] != previous[: level + 1]:
                n = starts[level, row[: level + 1]]
                span = f' rowspan="{n}"' if n > 1 else ""
                heads.append(f'<th scope="{"rowgroup" if n > 1 else "row"}"{span}>{_safe(word)}</th>')
        group = ' class="group"' if previous is not None and row[:1] != previous[:1] and len(row) > 1 else ""
        entries = "".join(_entry(shape.entries.get((row, column))) for column in shape.column_keys)
        lines.append(f"<tr{group}>{''.join(heads)}{entries}</tr>")
        previous = row
    return "\n".join(lines)


def _entry(entry: Entry | None) -> str:
    if entry is None:
        return f'<td class="absent">{ABSENT}</td>'
    kinds = {"best": entry.best, "refused": entry.value == "refused", "partial": bool(entry.count)}
    names = " ".join(name for name, holds in kinds.items() if holds)
    value = f"<strong>{_safe(entry.value)}</strong>" if entry.best else _safe(entry.value)
    parts = [value]
    if entry.beside:
        parts.append(f'<span class="published">{_safe(entry.beside)}</span>')
    if entry.difference:
        parts.append(f'<span class="difference">{_safe(entry.difference)}</span>')
    if entry.count:
        parts.append(f'<span class="count">{_safe(entry.count)}</span>')
    marks = "".join(f"<sup>{mark}</sup>" for mark in entry.marks)
    kind = f' class="{names}"' if names else ""
    return f"<td{kind}>{' '.join(parts)}{marks}</td>"


def _spans(keys: Sequence[Key], level: int) -> list[tuple[Key, int]]:
    """Equal values side by side at a level, where the earlier levels agree too: (key up to there, how many)."""
    return [(prefix, len(list(run))) for prefix, run in groupby(key[: level + 1] for key in keys)]


def _safe(text: str) -> str:
    return escape(one_line(text))
