"""A budget: whole seeds, of the cells that have fewest first, and never one that would end too late."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_ortho.plan import budget as run_budget
from sparse_ortho.plan import job as jobs
from sparse_ortho.stages.budget import Budget, BudgetSpent, most_informative
from sparse_ortho.stages.bundle import Context, run
from sparse_ortho.store import Result, Store


def task(name: str, seeds: list[int]) -> jobs.Task:
    return jobs.Task(name, {"name": name}, seeds, "c0de", [])


A, B, C = task("a", [0, 1, 2]), task("b", [0, 1, 2]), task("c", [0, 1, 2])
PLACES = [(t, s) for t in (A, B, C) for s in t.seeds]


def names(places: list[Any]) -> list[str]:
    return [f"{t.id}{s}" for t, s in places]


def test_by_hand():
    """Two seeds of a are there and one of b: first c's, then b and c, then everybody's last."""
    there = {"a0", "a2", "b1"}
    got = most_informative(PLACES, lambda t, s: f"{t.id}{s}" in there)
    assert names(got) == ["a0", "a2", "b1", "c0", "b0", "c1", "a1", "b2", "c2"]


@given(st.sets(st.sampled_from(names(PLACES))))
def test_every_seed_comes_once_and_no_cell_is_two_seeds_behind_one_that_gets_another(there: set[str]):
    got = most_informative(PLACES, lambda t, s: f"{t.id}{s}" in there)
    assert sorted(names(got)) == sorted(names(PLACES))
    assert set(names(got[: len(there)])) == there
    count = Counter({t.id: sum(f"{t.id}{s}" in there for s in t.seeds) for t in (A, B, C)})
    for t, _ in got[len(there) :]:
        assert count[t.id] == min(count.values())
        count[t.id] += 1


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def made_within(until: float, seconds: list[float]) -> list[str]:
    clock, made = Clock(), []
    for (t, s), took in zip(Budget(until, clock).within(PLACES, lambda t, s: False), seconds, strict=False):
        made.append(f"{t.id}{s}")
        clock.now += took
    return made


def test_a_seed_begins_only_if_the_longest_so_far_would_still_fit():
    assert made_within(10, [3] * 9) == ["a0", "b0", "c0"]  # at 9 a seed of 3 would end at 12
    assert made_within(9, [3] * 9) == ["a0", "b0", "c0"]
    assert made_within(8.9, [3] * 9) == ["a0", "b0"]
    assert made_within(20, [9, 1, 1, 1, 1]) == ["a0", "b0", "c0", "a1"]  # at 11 one of 9 would just fit, at 12 not
    assert made_within(-1, [1]) == []
    assert len(made_within(1e9, [1.0] * 9)) == 9


def test_what_is_finished_is_served_after_the_time_is_over():
    got = list(Budget(-1.0, Clock()).within(PLACES, lambda t, s: t.id == "b"))
    assert names(got) == ["b0", "b1", "b2"]


def at_work(store: Store, clock: Clock, until: float | None) -> tuple[list[Any], list[str]]:
    made: list[str] = []

    def make(t: jobs.Task, s: int, scratch: Path) -> Result:
        made.append(f"{t.id}{s}")
        clock.now += 3
        return Result({"status": "ok", "made": f"{t.id}{s}"})

    budget = None if until is None else Budget(until, clock)
    job = jobs.Job("init", "x", {}, (A, B, C))
    context = Context(store, lambda line: None, budget=budget)
    try:
        return run(job, context, lambda t, s: {}, make, str), made
    except BudgetSpent as told:
        return [str(told)], made


def test_a_job_that_ends_early_goes_on_where_it_stopped_and_ends_as_one_without_a_budget(tmp_path: Path):
    store, clock = Store(tmp_path / "one"), Clock()
    told, made = at_work(store, clock, 13)
    assert made == ["a0", "b0", "c0", "a1"]
    assert told == ["init/x: the budget of max_hours is spent: 4 of 9 seeds are finished, the others not begun"]
    whole, made = at_work(store, clock, 1000)
    assert made == ["b1", "c1", "a2", "b2", "c2"]
    plain, _ = at_work(Store(tmp_path / "other"), clock, None)
    assert [vars(item) for item in whole] == [vars(item) for item in plain]  # in the job's order


# what a run writes down --------------------------------------------------------------------------------------------


def begun(folder: Path, hours: float | None, cost: dict[str, float], workers: int, monkeypatch: Any) -> str:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(run_budget.time, "time", lambda: 1000.0)
    plan: Any = SimpleNamespace(
        config=SimpleNamespace(max_hours=hours), bundle=lambda stage, name: name, seconds=lambda name: cost[name]
    )
    needed: list[Any] = [("train", {"bundle": name}) for name in cost]
    run_budget.begin(plan, [*needed, ("table", {}), ("init", {"bundle": "i"})], workers)
    return str(folder / run_budget.FILE)


def test_jobs_divide_the_time_by_what_they_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One worker, an hour, costs 100, 200 and 300: 600 s, and the rest as it is left."""
    file = begun(tmp_path, 1.0, {"a": 100.0, "b": 200.0, "c": 300.0}, 1, monkeypatch)
    assert run_budget.until(file, "train", "a", 1000.0) == 1000 + 600
    assert run_budget.until(file, "train", "b", 1300.0) == pytest.approx(1300 + 3300 * 200 / 500)  # a was quick
    assert run_budget.until(file, "train", "c", 2620.0) == 4600.0
    assert run_budget.until(file, "init", "i", 2000.0) == 4600.0  # not divided: ends with the run
    assert run_budget.until(file, "train", "a", 5000.0) == 5000.0  # nothing is left


def test_more_workers_give_each_job_more_and_never_more_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = begun(tmp_path, 1.0, dict.fromkeys("abcd", 100.0), 2, monkeypatch)
    assert run_budget.until(file, "train", "a", 1000.0) == 1000 + 1800
    file = begun(tmp_path, 1.0, {"a": 100.0}, 64, monkeypatch)
    assert run_budget.until(file, "train", "a", 1000.0) == 4600.0


def test_a_run_without_a_budget_writes_nothing_and_hands_none_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = begun(tmp_path, None, {"a": 1.0}, 1, monkeypatch)
    assert not Path(file).exists()
    monkeypatch.setenv(run_budget.VARIABLE, "old")
    plan: Any = SimpleNamespace(config=SimpleNamespace(max_hours=None))
    run_budget.set_variable(plan)
    assert run_budget.VARIABLE not in os.environ


def test_a_budget_is_in_no_job():
    from sparse_ortho.plan.workflow import Plan

    plain, short = (Plan({"device": "cpu", **more}) for more in ({}, {"max_hours": 0.5, "slots": 3}))
    name = next(iter(plain.bundles("eoi", "train")))
    assert plain.job("train", name) == short.job("train", name)
    assert plain.report_job() == short.report_job()
    assert json.loads(short.config_job())["max_hours"] == 0.5
