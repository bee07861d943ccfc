"""Numbers from papers as a study's `published.csv` holds them: checked, numbers as numbers, unknown ones absent."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparse_ortho.errors import UserError

COLUMNS = (
    "study", "exhibit", "dataset", "model", "method", "density", "metric", "mean", "se", "n", "source", "confidence",
)  # fmt: skip
NUMBERS = ("density", "mean", "se", "n")
NEEDED = ("study", "method", "metric", "source")


def read(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a published.csv with numbers as numbers; the first mistake is told with file and line."""
    try:
        file = open(path, newline="", encoding="utf-8")  # noqa: SIM115 (closed below; only opening may find no file)
    except FileNotFoundError:
        raise UserError(str(path), "no such file") from None
    with file:
        reader = csv.DictReader(file, strict=True)
        try:
            _header(path, reader.fieldnames or [])
            return [_row(f"{path}:{reader.line_num}", row) for row in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path}:{reader.line_num}", f"is not CSV in UTF-8 ({error})") from None


def _header(path: Path | str, found: Iterable[str]) -> None:
    for name in found:
        if name not in COLUMNS:
            raise UserError(f"{path}:1", "unknown column", found=name, allowed=COLUMNS)
    if absent := [name for name in COLUMNS if name not in found]:
        raise UserError(f"{path}:1", f"columns are absent: {', '.join(absent)}")


def _row(where: str, row: Mapping[Any, Any]) -> dict[str, Any]:
    if None in row or None in row.values():
        raise UserError(where, f"has another number of fields than the header ({len(COLUMNS)})")
    values: dict[str, Any] = {name: row[name].strip() for name in COLUMNS}
    for name in NEEDED:
        if not values[name]:
            raise UserError(where, f"{name} is empty")
    values |= {name: _number(f"{where}, {name}", values[name]) for name in NUMBERS}
    density, se, n = values["density"], values["se"], values["n"]
    if density is not None and not 0 < density <= 1:
        raise UserError(f"{where}, density", found=density, allowed="a fraction in (0, 1]")
    if se is not None and se < 0:
        raise UserError(f"{where}, se", found=se, allowed="a number from 0")
    if n is not None and (n < 1 or n != int(n)):
        raise UserError(f"{where}, n", found=n, allowed="a whole number from 1")
    return values | {"n": None if n is None else int(n)}


def _number(where: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(where, "is not a number", found=text)
    return value
