"""A table with a baseline: differences, intervals and p against scipy, and mistakes told before any job."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sparse_ortho.errors import UserError
from sparse_ortho.plan.baselines import check_baseline
from sparse_ortho.plan.config import Exhibit, parse
from sparse_ortho.report import tables

EXHIBIT: dict[str, Any] = {
    "study": "synflow", "scale": "quick", "name": "accuracy", "kind": "table", "title": "Accuracy", "caption": "",
    "category": "c", "rows": ["density"], "columns": ["mask"], "metric": "test_accuracy_last", "baseline": "uniform",
}  # fmt: skip
VALUES = {
    (0.1, "uniform"): [90.0, 91.0, 92.0],
    (0.1, "snip"): [93.0, 94.5, 95.0],
    (0.1, "synflow"): [91.0, 91.5, 93.0],
    (0.01, "uniform"): [50.0, 40.0, 45.0],
    (0.01, "snip"): [88.0, 89.0, 87.0],
    (0.01, "synflow"): [90.0],
    (0.001, "snip"): [20.0, 21.0, 22.0],
}
CELLS = [
    {"id": f"{m}-{d}", "axes": {"mask": m, "density": d, "init": "kaiming"}, "seeds": [0, 1, 2]} for d, m in VALUES
]
RECORDS = [
    {"cell": f"{m}-{d}", "seed": i, "status": "ok", "reason": None, "test_accuracy_last": value, "density": d}
    for (d, m), values in VALUES.items()
    for i, value in enumerate(values)
]


def render(**changed: Any) -> dict[str, str]:
    return tables.render(EXHIBIT | changed, CELLS, RECORDS, [])


def rows_of(text: str) -> dict[tuple[float, str], dict[str, str]]:
    return {(float(row["density"]), row["mask"]): row for row in csv.DictReader(io.StringIO(text))}


def adjusted(p_values: list[float]) -> list[float]:
    """Holm's correction as one would write it down: the k-th smallest of m times m - k + 1, never falling."""
    order, found, largest = np.argsort(p_values), [0.0] * len(p_values), 0.0
    for k, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - k) * p_values[place]))
        found[place] = largest
    return found


def test_numbers_are_welchs_and_holms() -> None:
    found = rows_of(render()["csv"])
    compared = [(0.1, "snip"), (0.1, "synflow"), (0.01, "snip")]
    p_values = []
    for place in compared:
        test: Any = stats.ttest_ind(VALUES[place], VALUES[place[0], "uniform"], equal_var=False)
        interval = test.confidence_interval(0.95)
        row = found[place]
        assert float(row["difference"]) == pytest.approx(np.mean(VALUES[place]) - np.mean(VALUES[place[0], "uniform"]))
        assert float(row["difference_low"]) == pytest.approx(interval.low, rel=1e-9)
        assert float(row["difference_high"]) == pytest.approx(interval.high, rel=1e-9)
        assert float(row["p_welch"]) == pytest.approx(test.pvalue, rel=1e-9)
        p_values.append(float(test.pvalue))
    for place, p in zip(compared, adjusted(p_values), strict=True):
        assert float(found[place]["p_holm"]) == pytest.approx(p, rel=1e-9)


def test_who_has_no_counterpart_or_one_run_has_no_test() -> None:
    found = rows_of(render()["csv"])
    assert found[0.001, "snip"]["difference"] == found[0.1, "uniform"]["difference"] == ""
    single = found[0.01, "synflow"]
    assert float(single["difference"]) == 45 and single["difference_low"] == single["p_holm"] == ""


def test_the_table_says_it_in_words() -> None:
    told = render()
    # Welch's p are 0.0034, 0.0192 and 0.37 (scipy): the second of three counts twice
    assert "**94.2 ± 2.6** [+3.2; +0.9 to +5.5; p = 0.038]" in told["md"]
    assert "**90.0** [+45.0] 1 of 3" in told["md"] and "difference to uniform, its 95 % interval" in told["md"]
    assert "p by Holm for 3 comparisons" in told["md"] and "p by Holm for 3 comparisons" in told["tex"]
    assert '<span class="difference">[+3.2; ' in told["html"]


def test_without_a_baseline_nothing_is_added() -> None:
    plain = tables.render({k: v for k, v in EXHIBIT.items() if k != "baseline"}, CELLS, RECORDS, [])
    assert "[+" not in plain["md"] and "difference" not in plain["csv"] and "Holm" not in plain["md"]


def test_an_axis_may_be_named_and_be_a_row() -> None:
    turned = render(rows=["mask"], columns=["density"], baseline="mask=uniform")
    assert rows_of(turned["csv"])[0.1, "snip"]["p_holm"] == rows_of(render()["csv"])[0.1, "snip"]["p_holm"]
    below = rows_of(render(baseline="density=0.01")["csv"])[0.1, "snip"]
    assert float(below["difference"]) == pytest.approx(np.mean([93, 94.5, 95]) - 88)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"baseline": "unifrom"}, "did you mean 'uniform'"),
        ({"baseline": "init=kaiming"}, "is no axis of the table"),
        ({"baseline": "same", "columns": ["mask", "init"]}, "several axes"),
        ({"kind": "lines"}, "only a table"),
    ],
)
def test_a_baseline_that_is_none_is_refused_by_the_plan(changed: dict[str, Any], told: str) -> None:
    written = {"kind": "table", "title": "", "caption": "", "category": "", "rows": ["density"], "columns": ["mask"],
               "scales": {"quick": {"cells": [{}]}}, "baseline": "uniform"}  # fmt: skip
    places = [{"density": 0.1, "mask": m, "init": i} for m, i in (("uniform", "eoi"), ("same", "same"))]
    check_baseline(parse(Exhibit, written, "here"), places, "here")
    with pytest.raises(UserError, match=told):
        check_baseline(parse(Exhibit, written | changed, "here"), places, "here")
