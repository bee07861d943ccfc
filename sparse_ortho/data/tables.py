"""A table of the user's, CSV or parquet: columns chosen by name, as float32 features and 0/1 labels, and its split.

No paper: CSV is RFC 4180 with a header line. Columns that are not asked for are left alone. Nothing is filled in or
dropped unless an option says so: a missing column, a gap, an infinite value or a third label ends in one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparse_ortho.errors import UserError

SUFFIXES = (".parquet", ".csv", ".csv.gz")
GAPS = ["", "?", "NA", "NaN", "nan", "null"]  # `?` is OpenML's
MEANING = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
SHOWN = 5  # columns that an error names


def read_table(
    place: Path,
    stem: str,
    features: Sequence[str],
    label: str,
    *,
    positive: float | None = None,
    missing: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """float32 (N, F) and int64 (N,) from the file `place`, or from the only `stem`.* in the folder `place`.

    `missing` stands in for gaps in features. With `positive`, the label is whether the column equals it (a gap does
    not); without, the column holds 0 and 1.
    """
    path = table_file(place, stem)
    if label in features:
        raise UserError("data.label", "is one of the features", found=label)
    table = _columns(path, [*features, label], features)
    if not table.num_rows:
        raise UserError(str(path), "has no rows")
    columns = [_numbers(table.column(name), f"{path}: column {name}", missing) for name in features]
    return np.stack(columns, axis=1), _labels(table.column(label), f"{path}: column {label}", positive)


def table_file(place: Path, stem: str) -> Path:
    """`place` itself, or the one table in it."""
    if place.is_file():
        if not place.name.lower().endswith(SUFFIXES):
            raise UserError(str(place), "is no table that can be read", allowed=SUFFIXES)
        return place
    wanted = [place / (stem + suffix) for suffix in SUFFIXES]
    found = [path for path in wanted if path.is_file()]
    if len(found) != 1:
        problem = "holds several tables" if found else "holds no table"
        raise UserError(str(place), problem, found=[path.name for path in found], allowed=[w.name for w in wanted])
    return found[0]


def stratified(labels: np.ndarray, shares: tuple[float, float], seed: int, where: str) -> list[np.ndarray]:
    """Rows of train, validation and test, each with the classes in proportion: scikit-learn's split, made twice.

    `shares` are those of validation and test. First both are set aside together, then halved by their ratio.
    """
    from sklearn.model_selection import train_test_split

    rows, aside = np.arange(len(labels)), sum(shares)
    try:
        train, rest = train_test_split(rows, test_size=aside, stratify=labels, random_state=seed)
        halves = train_test_split(rest, test_size=shares[1] / aside, stratify=labels[rest], random_state=seed)
    except ValueError as error:
        raise UserError(where, f"has too few rows for three parts with both classes ({error})") from None
    return [np.asarray(part) for part in (train, *halves)]


def standardised(features: np.ndarray, train: np.ndarray | slice) -> np.ndarray:
    """(x - mean) / std of every column, both taken over the training rows alone; a constant column becomes zero."""
    seen = features[train].astype(np.float64)
    std = seen.std(axis=0)
    return ((features - seen.mean(axis=0)) / np.where(std > 0, std, 1.0)).astype(np.float32)


def _columns(path: Path, wanted: Sequence[str], numbers: Sequence[str]) -> Any:
    """The wanted columns of a file as an Arrow table, those of `numbers` as float64."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    text = not path.name.lower().endswith(".parquet")
    try:
        there = _header(path) if text else parquet.read_schema(path).names
        lacking = [name for name in wanted if name not in there]
        if lacking:
            shown = ", ".join(lacking[:SHOWN]) + (f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else "")
            raise UserError(str(path), f"lacks the columns {shown}", found=there)
        if twice := [name for name in wanted if there.count(name) > 1]:
            raise UserError(str(path), f"has the column {twice[0]} twice")
        if text:
            types = {name: pa.float64() for name in numbers}
            convert = csv.ConvertOptions(include_columns=list(wanted), column_types=types, null_values=GAPS)
            return csv.read_csv(path, convert_options=convert)
        return parquet.read_table(path, columns=list(wanted))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(str(path), f"cannot be read as a table ({error})") from None


def _header(path: Path) -> list[str]:
    from pyarrow import csv

    with csv.open_csv(path) as reader:
        return reader.schema.names


def _numbers(column: Any, where: str, missing: float | None) -> np.ndarray:
    import pyarrow as pa

    try:
        values = column.cast(pa.float64()).to_numpy().copy()
    except pa.ArrowException as error:
        raise UserError(where, f"does not hold numbers ({error})") from None
    gaps = np.isnan(values)
    if gaps.any():
        if missing is None:
            raise UserError(where, f"has no value in {gaps.sum()} of {len(values)} rows")
        values[gaps] = missing
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(where, "holds a value beyond float32", found=int(np.flatnonzero(~np.isfinite(values))[0]))
    return values


def _labels(column: Any, where: str, positive: float | None) -> np.ndarray:
    found = column.to_pylist()
    if positive is not None:
        labels = np.array([_number(value) == positive for value in found], dtype=np.int64)
    else:
        for value in dict.fromkeys(found):
            if str(value).lower() not in MEANING:
                raise UserError(where, "is a label that is neither 0 nor 1", found=value)
        labels = np.array([MEANING[str(value).lower()] for value in found], dtype=np.int64)
    if len(only := np.unique(labels)) < 2:
        raise UserError(where, "holds one class only", found=int(only[0]), allowed="0 and 1")
    return labels


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
