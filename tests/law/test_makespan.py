"""What jobs take on some workers, and what is learnt from those that were measured, by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from sparse_ortho.errors import UserError
from sparse_ortho.plan import forecast as module
from sparse_ortho.plan import measured
from sparse_ortho.plan.forecast import Forecast, Stage, breaks, forecast, lines
from sparse_ortho.plan.job import Job, Task, dump
from sparse_ortho.plan.makespan import fitted, makespan
from sparse_ortho.plan.workflow import Plan

SECONDS = st.lists(st.integers(0, 20), max_size=6)


def test_by_hand():
    assert makespan([3, 3, 2, 2, 2], 2) == 7  # 3 2 2 | 3 2, and the best is 6: longest first is not the best of all
    assert makespan([5, 1, 1, 1], 2) == 5
    assert makespan([], 3) == 0
    assert makespan([1, 2, 3], 1) == 6


@given(SECONDS, st.integers(1, 3))
def test_the_makespan_is_within_a_third_of_the_best_of_all_orders(seconds: list[int], workers: int):
    """Graham's bound for the longest first: 4/3 - 1/(3 m); the best by trying everything."""
    best = min(
        max(sum(s for s, at in zip(seconds, place, strict=True) if at == worker) for worker in range(workers))
        for place in itertools.product(range(workers), repeat=len(seconds))
    )
    assert best <= makespan(seconds, workers) <= (4 / 3 - 1 / (3 * workers)) * best + 1e-9


@given(st.floats(0.1, 20), st.floats(0.01, 5), st.lists(st.floats(1, 500), min_size=2, max_size=6, unique=True))
def test_jobs_on_a_line_give_that_line(start: float, pace: float, nominal: list[float]):
    line = fitted([(cost, start + pace * cost) for cost in nominal])
    for cost in nominal:
        assert line.seconds(cost) == pytest.approx(start + pace * cost, rel=1e-3)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 100)), min_size=1, max_size=6))
def test_the_line_is_the_least_squares_one_that_is_not_negative(jobs: list[tuple[int, int]]):
    """Against scipy's: the same sum of squared relative errors, since where all costs are one the line is not one."""
    line = fitted([(float(cost), float(seconds)) for cost, seconds in jobs])
    matrix = np.array([[1 / seconds, cost / seconds] for cost, seconds in jobs])
    _, best = nnls(matrix, np.ones(len(jobs)))
    assert line.start >= 0 and line.pace >= 0
    assert np.linalg.norm(matrix @ [line.start, line.pace] - 1) <= best + 1e-5


# a finished run ----------------------------------------------------------------------------------------------------


def finished(root: Path, plan: Plan, seconds: Any) -> None:
    """What a run leaves behind: provenance, a benchmark, an entry of the store."""
    for stage in ("mask", "init", "train", "measure"):
        for name, bundle in plan.bundles("eoi", stage).items():
            about = {
                "job": plan.job(stage, name),
                "seconds": seconds(stage, plan.seconds(bundle)),
                "store": {"started": 10_000},
            }
            path = root / "provenance" / stage / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(about))
    entry = root / "store" / "train" / "ab" / "abcd"
    entry.mkdir(parents=True)
    (entry / "entry.json").write_bytes(b"x" * 1000)
    (entry / "tensors.safetensors").write_bytes(b"x" * 9000)


def test_a_forecast_says_again_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Jobs that took 2 s and half their nominal cost: one worker needs the sum, and each stage its own makespan."""
    monkeypatch.chdir(tmp_path)
    plan = Plan({"device": "cpu", "studies": ["eoi"]})
    finished(tmp_path, plan, lambda stage, cost: 2 + cost / 2)
    stages = {stage.name: stage for stage in forecast(plan, 2, results=tmp_path).stages}
    for stage in ("mask", "init", "train", "measure"):
        took = [2 + plan.seconds(bundle) / 2 for bundle in plan.bundles("eoi", stage).values()]
        assert stages[stage].work == pytest.approx(sum(took), rel=1e-6)
        assert stages[stage].longest == pytest.approx(max(took), rel=1e-6)
        assert stages[stage].span == pytest.approx(makespan(took, 2), rel=1e-6)
    seeds = plan.study("eoi")
    assert stages["train"].seeds == sum(len(seeds.seeds[node.id]) for node in seeds.nodes("train"))


def test_ten_times_the_cells_are_ten_times_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    plan = Plan({"device": "cpu"})
    finished(tmp_path, plan, lambda stage, cost: 2 + cost / 2)
    one = forecast(plan, 1, results=tmp_path)
    ten = forecast(plan, 1, int(one.cells) * 10, results=tmp_path)
    assert ten.cells == 10 * one.cells and ten.jobs == pytest.approx(10 * one.jobs)
    assert ten.files == pytest.approx(10 * one.files) and ten.bytes == pytest.approx(10 * one.bytes)
    for before, after in zip(one.stages, ten.stages, strict=True):
        assert after.work == pytest.approx(10 * before.work) and after.span == pytest.approx(10 * before.span)


def test_files_and_bytes_of_a_seed_are_those_of_its_entry(tmp_path: Path):
    plan = Plan({"device": "cpu"})
    finished(tmp_path, plan, lambda stage, cost: 1.0)
    assert measured.kept(tmp_path / "store", "train") == measured.Kept(3.0, 10_000.0)
    assert measured.kept(tmp_path / "store", "init") is None


def test_a_job_that_was_served_says_nothing_of_what_it_takes(tmp_path: Path):
    job = dump(Job("train", "b", {}, [Task("c", {}, [0, 1, 2], "x", [])]))
    place = tmp_path / "provenance" / "train" / "b.json"
    place.parent.mkdir(parents=True)
    for events, told in (({"started": 2, "served": 1}, []), ({"started": 3}, [("b", 3, 9.0)]), ({"served": 3}, [])):
        place.write_text(json.dumps({"job": job, "seconds": 9.0, "store": events}))
        assert [(r.name, r.seeds, r.seconds) for r in measured.ran(tmp_path)] == told


def test_the_clock_of_snakemake_holds_the_start_of_the_process(tmp_path: Path):
    place = tmp_path / "benchmarks" / "train" / "b.tsv"
    place.parent.mkdir(parents=True)
    place.write_text("s\th:m:s\tmax_rss\n12.5\t0:00:12\t700\n")
    assert measured.wall(tmp_path, "train", "b") == 12.5 and measured.wall(tmp_path, "train", "c") == 0.0


def test_without_a_finished_training_there_is_no_forecast(tmp_path: Path):
    with pytest.raises(UserError, match="holds no finished training to measure by"):
        forecast(Plan({"device": "cpu"}), 1, results=tmp_path)
    for words in ((0, None), (1, 0)):
        with pytest.raises(UserError, match="must be at least 1"):
            forecast(Plan({"device": "cpu"}), *words, results=tmp_path)


def test_what_breaks_first_is_told_first():
    train = Stage("train", 10, 10, 36_000, 3600, 3600)
    assert breaks(Forecast((train,), 10, 1, 100, 1e6)) == []
    many = breaks(Forecast((train,), 10, 1, 5 * module.FILES, 1e6))
    assert len(many) == 1 and many[0].startswith("5,000,000 files")
    huge = Forecast((Stage("train", 1e6, 1e6, 1e9, 1e3, 1e6),), 1e7, 1, 2 * module.FILES, 1e6)
    told = breaks(huge)
    assert [text.split()[1] for text in told] == ["s", "GB", "files"]  # 30 and 23 and 2 times too much
    assert any(line.startswith("a limit: ") for line in lines(huge))


# the order of jobs -------------------------------------------------------------------------------------------------


def test_trainings_that_take_longest_are_the_most_urgent():
    plan = Plan({"device": "cpu", "split_minutes": 0.05})
    cost = {name: plan.seconds(bundle) for name, bundle in plan.bundles("eoi", "train").items()}
    by_urgency = sorted(cost, key=lambda name: -plan.urgency("train", name))
    assert [int(cost[name]) for name in by_urgency] == sorted(map(int, cost.values()), reverse=True)
    assert len({plan.urgency("train", name) for name in cost}) > 1
