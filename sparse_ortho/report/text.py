"""Values and words as plain text, and safe in Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.artifacts import canonical

ABSENT = "–"

TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "–": "--", "—": "---", "×": r"$\times$",
    "≤": r"$\le$", "≥": r"$\ge$", "…": r"\dots{}", "·": r"$\cdot$", "−": r"$-$",
}  # fmt: skip
MARKDOWN = {"\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "<": "&lt;"}


def show(value: Any) -> str:
    """A value of an axis as people write it: 0.05, erk, true; what is not there is a dash."""
    if value is None:
        return ABSENT
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return canonical(value)


def number(value: float | None, digits: int | None) -> str:
    """`digits` decimals, or four significant digits where a metric has no customary number of them."""
    if value is None or not math.isfinite(value):
        return ABSENT
    text = f"{value:.4g}" if digits is None else f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def one_line(text: str) -> str:
    return " ".join(text.split())


def tex(text: str) -> str:
    return one_line("".join(TEX.get(character, character) for character in text))


def markdown(text: str) -> str:
    return one_line("".join(MARKDOWN.get(character, character) for character in text))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Numbers in full precision, absent values empty, one kind of line end everywhere."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_field(row.get(column)) for column in columns] for row in rows)
    return target.getvalue()


def _field(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical(value)
