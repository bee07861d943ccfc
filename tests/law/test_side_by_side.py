"""Exhibits of several results of one training: metrics as columns, and trainings against their measured density."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.report import outcomes, side_by_side

EXHIBIT: dict[str, Any] = {
    "study": "er_lottery", "scale": "quick", "name": "both", "title": "T", "caption": "C", "kind": "side_by_side",
    "rows": ["rule.s_decay"], "columns": ["mask"], "metric": "test_accuracy_last",
    "quantities": ["test_accuracy_last", "density"], "published": False, "footnotes": [],
    "panels": [], "hue": "mask", "dash": None, "x": "measured_density",
}  # fmt: skip


def cell(mask: str, decay: float) -> dict[str, Any]:
    return {"id": f"{mask}-{decay}", "seeds": [0, 1], "axes": {"mask": mask, "rule.s_decay": decay, "density": 0.5}}


CELLS = [cell(mask, decay) for mask in ("erk", "uniform") for decay in (0.1, 0.2)]


def record(number: int, seed: int, **more: Any) -> dict[str, Any]:
    about = {"cell": CELLS[number]["id"], "seed": seed, "status": "ok", "reason": None}
    return about | {"test_accuracy_last": 90.0 + number + seed, "density": 0.4 - 0.1 * number + 0.02 * seed} | more


ROWS = [record(number, seed) for number in range(4) for seed in (0, 1)]


def test_every_metric_of_every_cell_is_told_once() -> None:
    told = list(csv.DictReader(io.StringIO(side_by_side.render(EXHIBIT, CELLS, ROWS, [])["csv"])))
    assert len(told) == 8
    found = {(row["cell"], row["metric"]): float(row["mean"]) for row in told}
    assert len(found) == 8
    for number, shown in enumerate(CELLS):
        assert found[shown["id"], "test_accuracy_last"] == pytest.approx(90.5 + number)
        assert found[shown["id"], "density"] == pytest.approx(0.41 - 0.1 * number)


def test_the_long_form_has_every_column_once() -> None:
    told = side_by_side.render(EXHIBIT, CELLS, ROWS, [])["csv"]
    head, *rows = csv.reader(io.StringIO(told))
    assert len(head) == len(set(head)) and all(len(row) == len(head) for row in rows)
    assert head[:6] == ["study", "scale", "exhibit", "rule.s_decay", "mask", "metric"]


def test_the_table_has_a_column_a_metric_in_the_order_of_the_exhibit() -> None:
    text = side_by_side.render(EXHIBIT, CELLS, ROWS, [])["md"]
    head = next(line for line in text.splitlines() if line.startswith("| rule.s_decay"))
    assert [part.strip() for part in head.strip("|").split("|")] == [
        "rule.s_decay", "erk, test_accuracy_last", "erk, density", "uniform, test_accuracy_last", "uniform, density"
    ]  # fmt: skip
    assert "90.5" in text and "0.41" in text and "**" not in text  # no better one where metrics differ


def test_a_metric_that_no_record_has_is_refused() -> None:
    with pytest.raises(UserError, match="quantities.*'densty'.*did you mean 'density'"):
        side_by_side.render(EXHIBIT | {"quantities": ["densty"]}, CELLS, ROWS, [])


def test_outcomes_stand_at_the_mean_of_what_was_kept() -> None:
    drawn = outcomes.render(EXHIBIT | {"quantities": ["test_accuracy_last"]}, CELLS, ROWS)
    told = {row["cell"]: row for row in csv.DictReader(io.StringIO(drawn["csv"]))}
    for number, shown in enumerate(CELLS):
        row = told[shown["id"]]
        assert float(row["measured_density"]) == pytest.approx(0.41 - 0.1 * number)
        assert float(row["mean"]) == pytest.approx(90.5 + number) and row["n"] == "2"


def test_what_diverged_has_no_value_and_what_is_missing_no_place() -> None:
    rows = [record(0, 0), *(record(number, seed, status="diverged") for number, seed in ((0, 1), (1, 0), (1, 1)))]
    drawn = outcomes.render(EXHIBIT | {"quantities": ["test_accuracy_last"]}, CELLS, rows)
    told = {row["cell"]: row for row in csv.DictReader(io.StringIO(drawn["csv"]))}
    assert set(told) == {CELLS[0]["id"], CELLS[1]["id"]}
    assert told[CELLS[0]["id"]]["n"] == "1" and told[CELLS[1]["id"]]["n"] == "0"


def test_outcomes_take_an_axis_of_the_cells_as_well() -> None:
    exhibit = EXHIBIT | {"x": "rule.s_decay", "quantities": ["density"]}
    told = list(csv.DictReader(io.StringIO(outcomes.render(exhibit, CELLS, ROWS)["csv"])))
    assert [row["rule.s_decay"] for row in told] == ["0.1", "0.2", "0.1", "0.2"]
