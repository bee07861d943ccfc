"""A job's text holds everything, in one spelling, and comes back as it went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError
from sparse_ortho.plan.job import LIMIT, Job, Task, dump, dump_cells, load, load_cells

SMALL = st.sampled_from([0, 1, 2, 0.0, 1.0, 0.5, True, False, None, "", "a", "1"])
PLAIN = st.recursive(
    SMALL | st.text(max_size=4) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
SPECS = st.dictionaries(st.sampled_from(["init", "model", "train", "shape", "inputs"]), SMALL | PLAIN, max_size=4)
TEXTS = st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3)
TASKS = st.builds(
    Task,
    id=st.text(max_size=5),
    spec=SPECS,
    seeds=st.lists(st.integers(0, 3), max_size=3),
    code=st.sampled_from(["aa", "bb"]),
    methods=st.lists(st.sampled_from(["m:f", "m:g"]), max_size=2),
)
JOBS = st.builds(
    Job,
    stage=st.text(max_size=5),
    bundle=st.text(max_size=5),
    env=TEXTS,
    cells=st.lists(TASKS, max_size=5).map(tuple),
    more=st.dictionaries(st.text(max_size=3), PLAIN, max_size=3),
)


def task(**words: Any) -> Task:
    return Task(**({"id": "a", "spec": {"lr": 0.1}, "seeds": [0, 1], "code": "c", "methods": ["m:f"]} | words))


def plain(job: Job) -> Any:
    """All of a job, so that equal means equal to the letter: 1, 1.0 and True differ."""
    return canonical(vars(job) | {"cells": [vars(cell) for cell in job.cells]})


def backwards(value: Any) -> Any:
    """The same value with the keys of every mapping in the opposite order."""
    if isinstance(value, Mapping):
        return {key: backwards(inner) for key, inner in reversed(list(value.items()))}
    return [backwards(inner) for inner in value] if isinstance(value, list) else value


@given(JOBS)
@example(Job("train", "b", {}, (task(spec={"on": True}), task(id="b", spec={"on": 1}))))
@example(Job("train", "b", {}, (task(spec={"x": {"y": 1}}), task(id="b", spec={"x": {"y": 1.0}}))))
@example(Job("train", "b", {}, (task(spec={"x": 0.0}), task(id="b", spec={"x": -0.0}))))
@example(Job("train", "b", {}, (task(spec={"x": None}), task(id="b", spec={}))))
@example(Job("train", "b", {}, (task(spec={}), task(spec={}))))
def test_a_job_comes_back_as_it_went(job: Job) -> None:
    assert plain(load(dump(job))) == plain(job)


@given(JOBS)
def test_the_order_of_keys_changes_no_letter(job: Job) -> None:
    turned = [Task(c.id, backwards(c.spec), c.seeds, c.code, c.methods) for c in job.cells]
    assert dump(Job(job.stage, job.bundle, backwards(job.env), tuple(turned), backwards(job.more))) == dump(job)


@given(JOBS)
def test_a_text_is_canonical_and_dumped_again_the_same(job: Job) -> None:
    text = dump(job)
    assert canonical(json.loads(text)) == text and text.isascii() and "\n" not in text
    assert dump(load(text)) == text


@given(JOBS, st.data())
def test_different_jobs_have_different_texts(job: Job, data: st.DataObject) -> None:
    other = data.draw(JOBS)
    assert (dump(job) == dump(other)) == (plain(job) == plain(other))


def test_sequences_of_any_kind_are_one_spelling() -> None:
    one = Job("train", "b", {}, (task(seeds=(0, 1), methods=("m:f",)),))
    assert dump(one) == dump(Job("train", "b", {}, [task()]))


def test_what_all_cells_share_is_written_once() -> None:
    word = "shared_by_all"
    cells = [task(id=f"c{n}", spec={"model": word, "lr": n}, seeds=[7, 8], methods=[word]) for n in range(50)]
    text = dump(Job("train", "b", {}, cells))
    assert text.count(word) == 2 and text.count("[7,8]") == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["spec", "more"])
def test_what_is_not_a_number_is_refused(value: float, place: str) -> None:
    cells = (task(spec={"lr": value}),) if place == "spec" else (task(),)
    more = {"deep": [{"x": value}]} if place == "more" else {}
    with pytest.raises(ValueError):
        dump(Job("train", "b", {}, cells, more))


def test_what_is_no_plain_data_is_refused() -> None:
    with pytest.raises(TypeError):
        dump(Job("train", "b", {}, (task(spec={"lr": object()}),)))


def test_a_job_is_refused_from_one_letter_above_the_limit() -> None:
    assert LIMIT == 100_000
    empty = len(dump(Job("train", "b", {}, (), {"x": ""})))
    assert len(dump(Job("train", "b", {}, (), {"x": "y" * (LIMIT - empty)}))) == LIMIT
    with pytest.raises(UserError, match="the job train/b is 100001 characters long; make bundles smaller") as caught:
        dump(Job("train", "b", {}, (), {"x": "y" * (LIMIT - empty + 1)}))
    assert "\n" not in str(caught.value)


# the cells of an exhibit -------------------------------------------------------------------------------------------

AXES = ["mask", "init", "density", "train.lr"]


@st.composite
def exhibits(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Cells as an exhibit has them: the same axes in the same order for all of them."""
    names = draw(st.lists(st.sampled_from(AXES), unique=True))
    seeds = st.lists(st.integers(0, 2), max_size=2)
    rows = st.fixed_dictionaries(
        {"id": st.text(max_size=4), "axes": st.fixed_dictionaries(dict.fromkeys(names, SMALL)), "seeds": seeds}
    )
    return draw(st.lists(rows, min_size=1, max_size=5))


@given(exhibits())
@example([{"id": "a", "axes": {"mask": 1}, "seeds": [0]}, {"id": "b", "axes": {"mask": True}, "seeds": [0]}])
@example([{"id": "a", "axes": {"mask": 1}, "seeds": []}, {"id": "b", "axes": {"mask": 1.0}, "seeds": []}])
def test_the_cells_of_an_exhibit_come_back_as_they_went(cells: list[dict[str, Any]]) -> None:
    assert canonical(load_cells(json.loads(canonical(dump_cells(cells))))) == canonical(cells)


def test_many_cells_of_an_exhibit_fit_into_a_job() -> None:
    """A thousand cells, as an exhibit of a paper has them."""
    axes = [{"data": "cifar10", "model": "resnet", "mask": f"m{n % 7}", "density": 0.001 * n} for n in range(1000)]
    cells = [{"id": f"cifar10-resnet-erk-eoi-d0.1-{n:012x}", "axes": a, "seeds": [0, 1, 2]} for n, a in enumerate(axes)]
    text = dump(Job("exhibit", "s-t", {}, (), {"cells": dump_cells(cells)}))
    assert text.count("cifar10") == 1001 and text.count("[0,1,2]") == 1
    assert load_cells(load(text).more["cells"]) == cells
