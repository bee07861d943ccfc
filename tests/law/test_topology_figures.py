"""Figures and tables of topologies: layer budgets, curves by quantity, differences to published means."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sparse_ortho.errors import UserError
from sparse_ortho.report import compared, dynamics, layer_budgets, paper_points
from sparse_ortho.report.statistics import summary

BASE: dict[str, Any] = {
    "study": "s",
    "scale": "quick",
    "title": "T",
    "caption": "",
    "panels": [],
    "hue": None,
    "dash": None,
}


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def cell(name: str, seeds: Any = (0, 1), **axes: Any) -> dict[str, Any]:
    told = {"data": "mnist", "model": "lenet300_100", "mask": "uniform", "density": 0.1, "rule": "set"} | axes
    return {"id": name, "seeds": list(seeds), "axes": told}


def row(name: str, seed: int, epoch: int, layers: Any, **more: Any) -> dict[str, Any]:
    return {"cell": name, "seed": seed, "epoch": epoch, "layers": layers and json.dumps(layers)} | more


LAYERS = [
    row("a", 0, 0, {"one": [6, 0, 0, 10], "two": [2, 0, 0, 20]}),
    row("a", 0, 1, {"one": [3, 1, 4, 10], "two": [5, 3, 0, 20]}),
    row("a", 0, 2, None),
    row("a", 1, 0, {"one": [4, 0, 0, 10], "two": [4, 0, 0, 20]}),
    row("a", 1, 1, None),
    row("a", 1, 2, {"one": [5, 2, 1, 10], "two": [3, 0, 1, 20]}),
]


def budgets(rows: Any = LAYERS, **more: Any) -> dict[tuple[str, str, int], dict[str, str]]:
    exhibit = BASE | {"name": "b", "quantities": ["share", "density", "grown", "net"]} | more
    found = table(layer_budgets.render(exhibit, [cell("a")], rows)["csv"])
    return {(line["quantity"], line["layer"], int(line["epoch"])): line for line in found}


def test_shares_of_layers_are_means_over_seeds_and_sum_to_one() -> None:
    found = budgets()
    one = {epoch: float(found["share", "one", epoch]["mean"]) for epoch in (0, 1, 2)}
    assert one == pytest.approx({0: (6 + 4) / 16, 1: (3 + 4) / 16, 2: (3 + 5) / 16})
    for epoch in (0, 1, 2):
        assert one[epoch] + float(found["share", "two", epoch]["mean"]) == pytest.approx(1)
    assert (found["share", "one", 0]["min"], found["share", "one", 0]["max"]) == ("0.5", "0.75")


def test_a_row_without_counts_has_those_of_the_row_before_and_nothing_moved() -> None:
    found = budgets()
    assert float(found["density", "two", 2]["mean"]) == pytest.approx((5 / 20 + 3 / 20) / 2)
    assert float(found["net", "two", 1]["mean"]) == pytest.approx((3 / 8 + 0) / 2)
    assert float(found["net", "one", 1]["mean"]) == pytest.approx((-3 / 8 + 0) / 2)
    assert float(found["grown", "one", 2]["mean"]) == pytest.approx((0 + 2 / 8) / 2)


def test_what_layers_win_is_what_others_lose() -> None:
    found = budgets()
    for epoch in (0, 1, 2):
        assert float(found["net", "one", epoch]["mean"]) == pytest.approx(-float(found["net", "two", epoch]["mean"]))


def test_dense_networks_and_unfinished_ones_have_empty_panels() -> None:
    assert budgets([row("a", 0, 0, None)]) == budgets([]) == {}


@pytest.mark.parametrize("names", [["share", "nonsense"], []])
def test_unknown_quantities_are_refused(names: list[str]) -> None:
    with pytest.raises(UserError, match="quantities"):
        budgets(quantities=names)
    with pytest.raises(UserError, match="quantities"):
        dynamics.render(BASE | {"name": "d", "quantities": names}, [cell("a")], [row("a", 0, 0, None, density=0.1)])


def test_an_epoch_that_is_there_twice_is_refused() -> None:
    with pytest.raises(UserError, match="two curve rows"):
        budgets([*LAYERS, LAYERS[0]])


def test_dynamics_tell_mean_and_range_of_each_quantity_and_leave_out_what_is_absent() -> None:
    rows = [
        row("a", seed, epoch, None, mask_change=None if epoch == 0 else 0.1 * (seed + epoch), exploration=0.5)
        for seed in (0, 1)
        for epoch in (0, 1, 2)
    ]
    exhibit = BASE | {"name": "d", "quantities": ["mask_change", "exploration"], "hue": "rule"}
    drawn = dynamics.render(exhibit, [cell("a")], [*rows, row("b", 0, 1, None, mask_change=9, exploration=9)])
    found = {(line["quantity"], line["epoch"]): line for line in table(drawn["csv"])}
    assert set(found) == {("mask_change", "1"), ("mask_change", "2"), *(("exploration", e) for e in "012")}
    line = found["mask_change", "2"]
    assert [float(line[part]) for part in ("mean", "min", "max", "n")] == pytest.approx([0.25, 0.2, 0.3, 2])
    assert drawn["svg"] == dynamics.render(exhibit, [cell("a")], rows)["svg"]


def published(mean: float, se: float | None, n: int | None, method: str = "set", **more: Any) -> dict[str, Any]:
    return {
        "exhibit": "t", "dataset": "mnist", "model": "lenet300-100", "method": method, "density": 0.1,
        "metric": "test_accuracy", "mean": mean, "se": se, "n": n, "source": "a paper",
    } | more  # fmt: skip


def test_the_interval_of_a_difference_is_welchs_where_both_numbers_of_runs_are_known() -> None:
    ours, theirs = [97.1, 97.5, 97.2, 97.9], np.array([97.0, 98.1, 97.4])
    row = published(float(theirs.mean()), float(theirs.std(ddof=1) / math.sqrt(3)), 3)
    found = compared.gap(summary(ours, 4), row)
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert found and found.half_width is not None
    assert [found.mean - found.half_width, found.mean + found.half_width] == pytest.approx([*expected], rel=1e-9)


def test_a_published_error_of_unknown_n_is_exact_and_one_without_error_adds_nothing() -> None:
    ours = [97.1, 97.5, 97.2]
    s2 = np.var(ours, ddof=1) / 3
    found = compared.gap(summary(ours, 3), published(97.0, 0.2, None))
    freedom = 2 * ((s2 + 0.04) / s2) ** 2
    assert found and found.half_width == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(s2 + 0.04))
    found = compared.gap(summary(ours, 3), published(97.0, None, None))
    assert found and found.half_width == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(s2))


def test_one_seed_has_a_difference_without_interval_and_no_seed_has_none() -> None:
    assert compared.gap(summary([98.0], 1), published(97.0, 0.1, 5)) == compared.Gap(1.0, None)
    assert compared.gap(summary([], 1), published(97.0, 0.1, 5)) is None
    assert compared.gap(summary([98.0, 97.0], 2), None) is None


def records(values: Any, name: str = "a") -> list[dict[str, Any]]:
    return [
        {"cell": name, "seed": seed, "status": "ok", "reason": None, "test_accuracy_last": value}
        for seed, value in enumerate(values)
    ]


TABLE: dict[str, Any] = BASE | {
    "name": "t", "rows": ["density"], "columns": ["rule"], "metric": "test_accuracy_last", "published": True,
    "footnotes": [], "digits": None,
}  # fmt: skip


def test_a_table_says_the_difference_beside_the_published_mean() -> None:
    files = compared.render(TABLE, [cell("a")], records([97.1, 97.3]), [published(97.25, None, None)])
    half = stats.t.ppf(0.975, 1) * np.std([97.1, 97.3], ddof=1) / math.sqrt(2)
    assert f"(97.25; −0.05 ± {half:.2f})" in files["md"]
    assert "no standard error" in files["md"] and "ours less that" in files["md"] and "$-$0.05" in files["tex"]
    line = table(files["csv"])[0]
    assert float(line["difference"]) == pytest.approx(-0.05)
    assert float(line["high"]) - float(line["low"]) == pytest.approx(2 * half)


def test_points_of_papers_stand_beside_cells_and_those_of_other_methods_alone() -> None:
    cells = [cell("a"), cell("d", mask="dense", density=1.0, rule="static")]
    rows = [
        published(97.0, 0.1, 5),
        published(96.0, None, None, method="Pruning (1989)", density=0.08),
        published(95.0, None, None, method="elsewhere", model="lenet5"),
        published(98.0, None, None, method="dense", density=1.0),
    ]
    told = TABLE | {"hue": "rule", "log_y": True}
    drawn = paper_points.render(told, cells, [*records([97.1, 97.3]), *records([98.5, 98.6], "d")], rows)
    found = {(line["method"], line["source"]): line for line in table(drawn["csv"])}
    assert set(found) == {
        ("set", "trained here"), ("dense", "trained here"), ("set", "a paper"), ("dense", "a paper"),
        ("Pruning (1989)", "a paper"),
    }  # fmt: skip
    assert float(found["set", "a paper"]["half_width"]) == pytest.approx(0.196)
    assert float(found["set", "trained here"]["mean"]) == pytest.approx(97.2)
    assert found["Pruning (1989)", "a paper"]["cell"] == "" and b"<svg" in drawn["svg"]
