"""Numbers from papers, put beside the cells that they speak of.

A row speaks of a cell when its data set, model, density and metric are the cell's and every word of its `method` is a
value of the cell's axes (`rigl, erk`; `init=eoi` names the axis too; `dense` is also any cell of density 1). Names
compare without case, `-` and `_`. An empty field says nothing, so it excludes nothing; an empty `mean` is unknown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.report.text import show

# a paper that reports "test accuracy" and names no epoch is read as the last one
UNSPOKEN = {"test_accuracy": "test_accuracy_last", "validation_accuracy": "validation_accuracy_last"}


def match(
    rows: Iterable[Mapping[str, Any]], exhibit_name: str, axes: Mapping[str, Any], metric: str
) -> Mapping[str, Any] | None:
    """The row that speaks of this cell most closely, or None; two that are equally close must agree."""
    fitting = [row for row in rows if row["mean"] is not None and _fits(row, exhibit_name, axes, metric)]
    if not fitting:
        return None
    closest = max(map(_closeness, fitting))
    best = [row for row in fitting if _closeness(row) == closest]
    if len({(row["mean"], row["se"]) for row in best}) > 1:
        values = " and ".join(f"{row['mean']} ({row['source']})" for row in best)
        raise UserError(f"published.csv, exhibit {exhibit_name}", f"several values for {dict(axes)}: {values}")
    return best[0]


def _fits(row: Mapping[str, Any], exhibit_name: str, axes: Mapping[str, Any], metric: str) -> bool:
    density = 1.0 if axes.get("density") is None else float(axes["density"])
    dense = density == 1
    values = {_plain(show(value)) for value in axes.values() if value is not None}
    values |= {_plain(f"{name}={show(value)}") for name, value in axes.items()}
    return (
        row["exhibit"] in ("", exhibit_name)
        and metric in (row["metric"], UNSPOKEN.get(row["metric"]))
        and same(row["dataset"], axes.get("data"))
        and same(row["model"], axes.get("model"))
        and (row["density"] is None or math.isclose(row["density"], density, rel_tol=1e-6))
        and all(word in values or (word == "dense" and dense) for word in _words(row))
    )


def same(named: str, value: Any) -> bool:
    """Whether a published row that names a data set or a model, or says nothing, speaks of this one."""
    return not named or _plain(named) == _plain(show(value))


def _closeness(row: Mapping[str, Any]) -> int:
    """More that the row says is a closer match."""
    stated = (row["exhibit"], row["dataset"], row["model"], row["density"])
    return len(_words(row)) + sum(field not in ("", None) for field in stated)


def _words(row: Mapping[str, Any]) -> list[str]:
    return [_plain(word) for word in re.split("[,;]", row["method"]) if word.strip()]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())
