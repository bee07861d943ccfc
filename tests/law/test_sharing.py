"""A store that is shared: elsewhere nothing is made again, and nothing passes for what it is not."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparse_ortho import storekeeping as keep
from sparse_ortho.artifacts import canonical, digest_text
from sparse_ortho.errors import UserError
from sparse_ortho.plan import job as jobs
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages import housekeeping
from sparse_ortho.stages.bundle import Context, run
from sparse_ortho.store import FACTS, TENSORS, Result, Store

TASKS = tuple(jobs.Task(name, {"name": name, "rate": 0.1}, [0, 1], "c0de", []) for name in ("a", "b"))
JOB = jobs.Job("init", "x", {"torch": "2.15"}, TASKS)
READ = {"data": "dd"}


def worked(store: Store, job: jobs.Job = JOB) -> tuple[list[Any], int]:
    """What the job gives, and how many seeds had to be made."""

    def make(task: jobs.Task, seed: int, scratch: Path) -> Result:
        return Result({"status": "ok", "cell": task.id}, {"w": np.full(3, seed, dtype=np.float32)})

    made = run(job, Context(store, lambda line: None), lambda task, seed: READ, make, str)
    return [(m.task.id, m.seed, m.result.row, m.result.tensors["w"].tolist()) for m in made], store.events["made"]


def test_what_was_imported_is_not_made_again(tmp_path: Path):
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    results, made = worked(here)
    assert made == 4
    assert keep.export(here, tmp_path / "x.tar") == 4 and keep.take_in(there, tmp_path / "x.tar") == (4, 0)
    assert worked(there) == (results, 0)


def test_an_entry_says_all_that_made_it(tmp_path: Path):
    worked(store := Store(tmp_path))
    for stage, key, facts in keep.entries(store):
        about = facts["about"]
        made_of = {name: about[name] for name in ("spec", "seed", "code", "env", "inputs")} | {"stage": stage}
        assert digest_text(canonical(made_of)) == key
        assert about["env"] == {"torch": "2.15"} and about["inputs"] == READ and about["spec"]["rate"] == 0.1


# forged ------------------------------------------------------------------------------------------------------------


def members(store: Store) -> dict[tuple[str, str], dict[str, bytes]]:
    return {
        (stage, key): {path.name: path.read_bytes() for path in store.path(stage, key).iterdir()}
        for stage, key, _ in keep.entries(store)
    }


def packed(path: Path, found: Mapping[tuple[str, str], Mapping[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for (stage, key), files in found.items():
            for name, data in files.items():
                info = tarfile.TarInfo(f"{stage}/{key}/{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def resealed(files: dict[str, bytes], change: Callable[[dict[str, Any]], None]) -> dict[str, bytes]:
    """Other facts under a digest that fits them."""
    body = json.loads(files[FACTS])
    del body["digest"]
    change(body)
    return files | {FACTS: json.dumps(body | {"digest": digest_text(canonical(body))}).encode()}


def other_seed(body: dict[str, Any]) -> None:
    body["about"]["seed"] += 10


def other_rate(body: dict[str, Any]) -> None:
    body["about"]["spec"]["rate"] = 0.2


def other_input(body: dict[str, Any]) -> None:
    body["about"]["inputs"]["data"] = "de"


def no_spec(body: dict[str, Any]) -> None:
    del body["about"]["spec"]


@pytest.mark.parametrize("change", [other_seed, other_rate, other_input, no_spec])
def test_an_entry_whose_key_is_not_that_of_what_made_it_is_refused(change: Any, tmp_path: Path):
    worked(here := Store(tmp_path / "here"))
    found = members(here)
    victim = next(iter(found))
    found[victim] = resealed(found[victim], change)
    there = Store(tmp_path / "there")
    assert keep.take_in(there, packed(tmp_path / "x.tar", found)) == (3, 1)
    assert worked(there)[1] == 1  # only that one is made again
    assert not list((there.root / "aside").iterdir())


def test_a_whole_entry_under_the_key_or_the_stage_of_another_is_refused(tmp_path: Path):
    """As it lay, with every digest right: a good result passed off as that of another cell."""
    worked(here := Store(tmp_path / "here"))
    found = members(here)
    (one, files), (other, theirs), *_ = found.items()
    for name, forged in (("keys", {one: theirs, other: files}), ("stage", {("train", one[1]): files})):
        there = Store(tmp_path / name)
        assert keep.take_in(there, packed(tmp_path / f"{name}.tar", forged)) == (0, len(forged))
        assert not list(keep.entries(there))


def test_a_forged_archive_is_one_sentence(tmp_path: Path):
    worked(here := Store(tmp_path / "here"))
    found = members(here)
    victim = next(iter(found))
    found[victim] |= {TENSORS: found[victim][TENSORS][:-1] + b"x"}
    with pytest.raises(UserError, match="x.tar: 1 of its entries are damaged or not what .* 3 were taken$") as caught:
        housekeeping.take_in(Store(tmp_path / "there"), packed(tmp_path / "x.tar", found), print)
    assert "\n" not in str(caught.value)


# one study ---------------------------------------------------------------------------------------------------------


def test_one_study_is_exported_and_only_what_its_sources_of_now_have_made(tmp_path: Path):
    """Two seeds of the study, one of them by other sources; a cell of another scale; a stranger's."""
    plan, store, said = Plan({"device": "cpu"}), Store(tmp_path / "store"), []
    job = next(job for job in housekeeping.jobs_of(plan) if job.stage == "init")
    task = job.cells[0]
    seed = task.seeds[0]
    worked(store, jobs.Job("init", "x", job.env, (jobs.Task(task.id, task.spec, [seed, 999], task.code, []),)))
    worked(store, jobs.Job("init", "x", job.env, (jobs.Task(task.id, task.spec, [seed], "older", []),)))
    worked(store)
    housekeeping.export(store, plan, tmp_path / "eoi.tar", said.append)
    assert said == [f"1 entries in {tmp_path / 'eoi.tar'}"]
    keep.take_in(other := Store(tmp_path / "other"), tmp_path / "eoi.tar")
    ((stage, _, facts),) = keep.entries(other)
    assert (stage, facts["about"]["cell"], facts["about"]["seed"]) == ("init", task.id, seed)
    assert facts["about"]["code"] == task.code


def test_a_study_of_which_there_is_nothing_is_one_sentence_and_no_archive(tmp_path: Path):
    with pytest.raises(UserError, match="^export: nothing of eoi at scale quick is in the store$"):
        plan = Plan({"device": "cpu", "studies": ["eoi"]})
        housekeeping.export(Store(tmp_path / "none"), plan, tmp_path / "eoi.tar", print)
    assert not (tmp_path / "eoi.tar").exists()
