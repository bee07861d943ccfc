"""The study of Sparse Momentum: its plan at every scale, its published numbers, and what its protocol is."""

from __future__ import annotations

import functools
import math
import re
import statistics
from typing import Any

import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.plan import published, studies
from sparse_ortho.plan.config import Block, Grid
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.plan.grid import raw_cells
from sparse_ortho.report.published import match, same

PUBLISHED = published.read(ROOT / "studies/sparse_momentum/published.csv")


@functools.cache
def at(scale: str) -> studies.ScaledStudy:
    return studies.at_scale("sparse_momentum", scale)


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper"])
def test_every_scale_has_a_plan_in_which_each_sparse_method_starts_from_one_mask(scale: str) -> None:
    study = at(scale)
    masks: dict[tuple[str, float], set[str]] = {}
    for view in study.exhibits["fig2"][2]:
        cell = study.cells[view.id]
        if view.axes["mask"] != "dense":
            masks.setdefault((view.axes["mask"], view.axes["density"]), set()).add(cell.nodes["mask"].id)
    assert masks and all(len(found) == 1 for found in masks.values())


def test_the_published_protocol_is_what_fig2_trains() -> None:
    study = at("laptop")
    views = [view for view in study.exhibits["fig2"][2] if view.axes["rule"] == "sparse_momentum"]
    views = [view for view in views if view.axes["rule.growth"] is None]
    assert sorted(view.axes["density"] for view in views) == [0.01, 0.02, 0.03, 0.04, 0.05, 0.1]
    spec = study.cells[views[0].id].nodes["train"].spec
    expected = {"batch_size": 100, "weight_decay": 0.0005, "schedule": "periodic", "period": "25000it"}
    assert dict(spec["train"]) == expected  # 100 epochs, lr 0.1, Nesterov and momentum 0.9 are the defaults
    assert spec["rule"] == {"name": "sparse_momentum"}


def test_fig2_has_five_seeds_where_it_must_and_three_elsewhere() -> None:
    seeds = {
        (view.axes["mask"], view.axes["rule"], view.axes["rule.growth"]): view.seeds
        for view in at("laptop").exhibits["fig2"][2]
    }
    five = {("dense", "static", None), ("uniform", "sparse_momentum", None)}
    assert {place for place, found in seeds.items() if len(found) == 5} == five
    assert {found for place, found in seeds.items() if place not in five} == {(0, 1, 2)}


@pytest.mark.parametrize("seeds", [[], 3, [0, -1], ["0"], [True]])
def test_seeds_of_an_entry_are_whole_numbers(seeds: Any) -> None:
    grid = Grid(cells=[{"mask": "dense", "seeds": seeds}])
    with pytest.raises(UserError, match=r"cells\[0\]\.seeds"):
        list(raw_cells(Block(seeds=[0]), grid, "x"))


def test_what_is_tuned_has_no_seeds_of_its_own() -> None:
    grid = Grid(cells=[{"mask": "dense", "seeds": [0]}], tune={"train.lr": [0.1, 0.2]})
    with pytest.raises(UserError, match="same seeds"):
        list(raw_cells(Block(seeds=[0]), grid, "x"))


def test_seeds_of_an_entry_reach_all_of_its_cells() -> None:
    grid = Grid(cells=[{"density": [0.1, 0.2], "seeds": [3, 1]}, {"density": 0.3}])
    assert [cell.get("seeds") for cell in raw_cells(Block(seeds=[0]), grid, "x")] == [[3, 1], [3, 1], None]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row['exhibit']}-{row['method']}-{row['density']:g}")
def test_every_published_number_is_shown_by_its_exhibit(row: dict[str, Any]) -> None:
    """Beside a cell that it speaks of, or as a mark of its own in the panel of its network."""
    shown, kinds = [], set()
    for scale in ("laptop", "paper"):
        if row["exhibit"] in at(scale).exhibits:
            exhibit, _, views = at(scale).exhibits[row["exhibit"]]
            shown += [view.axes for view in views]
            kinds.add(exhibit.kind)
    spoken = any(match([row], row["exhibit"], axes, "test_accuracy_last") is row for axes in shown)
    home = any(same(row["dataset"], axes["data"]) and same(row["model"], axes["model"]) for axes in shown)
    assert spoken or ("paper_points" in kinds and home)


def test_published_means_and_errors_are_those_of_their_five_runs() -> None:
    """The known answers of the repository: mean and standard error (n - 1) of the raw runs that it ships."""
    found = 0
    for row in PUBLISHED:
        if runs := re.search(r"raw runs ([\d. ]+)", row["confidence"]):
            values = [float(text) for text in runs[1].split()]
            assert row["n"] == len(values) == 5
            assert row["mean"] == pytest.approx(statistics.mean(values), abs=6e-4)
            assert row["se"] == pytest.approx(statistics.stdev(values) / math.sqrt(5), abs=6e-5)
            found += 1
    assert found >= 12  # static and pruned from dense, six densities each


def test_the_slip_of_the_summary_file_is_not_repeated() -> None:
    """97.754 in its runs, 0.9754 in the summary: the order of dsr and sparse_momentum at 1 % depends on it."""
    at_one = {row["method"]: row["mean"] for row in PUBLISHED if row["exhibit"] == "fig2" and row["density"] == 0.01}
    assert at_one["dsr"] == 97.754 > at_one["sparse_momentum"] == 97.53
