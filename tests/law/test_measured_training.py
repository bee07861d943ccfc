"""Measurements of trained networks: what they read, that nothing is trained twice, and what the plan refuses."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sparse_ortho.artifacts import read_tables, read_tensors
from sparse_ortho.errors import UserError
from sparse_ortho.plan import job as jobs
from sparse_ortho.plan import paths
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages import data, init, mask, measure, train
from sparse_ortho.stages.bundle import Context
from sparse_ortho.store import Store

RAW = {"data": "digits", "model": "mlp", "mask": "erk", "init": "kaiming", "density": 0.3}
STUDY = {
    "title": "Tiny",
    "paper": "none",
    "scales": {
        "tiny": {
            "seeds": [0, 1, 5],
            "cell": {
                "data": "digits",
                "model": {"name": "mlp", "depth": 2, "width": 8, "activation": "relu"},
                "train": {"epochs": 1, "batch_size": 256, "lr": 0.05},
                "init": "kaiming",
                "mask": "erk",
            },
        }
    },
}
LINES = {"kind": "lines", "title": "t", "caption": "c", "category": "k", "x": "density"}
PROFILE = {"kind": "profile", "title": "t", "caption": "c", "category": "k", "x": "layer", "quantities": ["rate"]}


def exhibit(**cells: Any) -> dict[str, Any]:
    return {"scales": {"tiny": {"cells": [cells]}}}


class Study:
    """A study in a folder of its own, whose stages run in this process."""

    def __init__(self, folder: Path, **exhibits: dict[str, Any]):
        place = folder / "studies" / "tiny"
        place.mkdir(parents=True)
        for name, told in ({"study": STUDY} | exhibits).items():
            (place / f"{name}.yaml").write_text(yaml.safe_dump(told))
        self.plan = Plan({"studies": ["tiny"], "scale": "tiny", "device": "cpu"}, folder)
        self.store = Store(folder / "store")

    def run(self, *stages: str) -> None:
        context = Context(self.store, lambda line: None)
        for stage in stages:
            for name in self.plan.bundles("tiny", stage):
                job = jobs.load(self.plan.job(stage, name))
                read = {role: self.plan.inputs(stage, name, role) for role in ("data", "mask", "init", "train")}
                made = paths.bundle(stage, name)
                match stage:
                    case "data":
                        data.main(job, context, made)
                    case "mask":
                        mask.main(job, context, read["data"], made)
                    case "init":
                        init.main(job, context, read["mask"], made)
                    case "train":
                        train.main(job, context, read["data"][0], read["init"], made, paths.curves(name))
                    case "measure":
                        assert all(Path(path).is_file() for path in read["train"])
                        measure.main(job, context, read["data"][0], read["init"], made)

    def values(self) -> dict[tuple[str, int, str], float | None]:
        files = [paths.bundle("measure", name) for name in self.plan.bundles("tiny", "measure")]
        return {(row["cell"], row["seed"], row["quantity"]): row["value"] for row in read_tables(files)}

    def made(self) -> Counter[str]:
        """How many seeds each stage made since the last time asked."""
        log = self.store.root / "log.jsonl"
        events = [json.loads(line) for line in log.read_text().splitlines()]
        log.unlink()
        return Counter(event["stage"] for event in events if event["event"] == "made")

    def trained(self, seed: int) -> dict[str, np.ndarray]:
        """The tensors of the one trained cell, out of the store."""
        for path in (self.store.root / "train").rglob("entry.json"):
            if json.loads(path.read_text())["about"]["seed"] == seed:
                return read_tensors(path.with_name("tensors.safetensors"))[0]
        raise AssertionError("not in the store")


ALL = ("data", "mask", "init", "train", "measure")


def test_a_trained_network_is_measured_and_nothing_is_trained_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ends = {"density": 0.3, "measure": {"name": "filters", "bins": 4}, "measure.at": ["init", "end"]}
    pair = {"density": 0.3, "measure": {"name": "connectivity", "at": "end", "points": 3}}
    study = Study(tmp_path, ends=PROFILE | {"hue": "measure.at"} | exhibit(**ends), pair=LINES | exhibit(**pair))
    study.run(*ALL)
    assert study.made() == {"mask": 3, "init": 3, "train": 3, "measure": 9}
    values = study.values()

    weights = {seed: study.trained(seed)["weights/layers.0.weight"] for seed in (0, 1, 5)}
    found = {
        (moment.spec["measure"].get("at"), seed): values[moment.id, seed, "rate/layers.0.weight"]
        for moment in study.plan.study("tiny").nodes("measure")
        if moment.spec["measure"]["name"] == "filters"
        for seed in (0, 1, 5)
    }
    for seed, weight in weights.items():
        assert found["end", seed] == pytest.approx(np.mean(np.abs(weight) <= 1e-5))
        assert found[None, seed] == pytest.approx(np.mean(np.abs(weight) == 0), abs=0.01)  # masks do not move

    (line,) = {cell for cell, _, name in values if name == "t/0"}
    for seed, following in ((0, 1), (1, 5), (5, 0)):  # in a ring
        assert values[line, seed, "train_loss/2"] != values[line, seed, "train_loss/0"]
        assert values[line, seed, "test_loss/2"] == pytest.approx(values[line, following, "test_loss/0"], rel=1e-6)

    before = {path: path.read_bytes() for path in Path("results/measures").iterdir()}
    shutil.rmtree(study.store.root / "train")  # lost, and the same again: the measurements are served
    study.run("measure")
    assert study.made() == {"train": 3}
    assert before == {path: path.read_bytes() for path in Path("results/measures").iterdir()}


def test_a_training_that_diverged_has_nothing_to_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = {"density": 0.3, "train.lr": 1e30, "measure": {"name": "filters", "at": "end"}}
    study = Study(tmp_path, ends=LINES | exhibit(**cells))
    study.run(*ALL)
    rows = read_tables(paths.bundle("measure", name) for name in study.plan.bundles("tiny", "measure"))
    assert [(row["status"], row["quantity"], row["value"]) for row in rows] == [("diverged", None, None)] * 3
    assert all(row["reason"] for row in rows)


def test_a_measurement_of_the_initialisation_keeps_its_identity_and_one_of_the_end_names_its_training() -> None:
    plain, said, end = (
        resolve_cell(RAW | {"measure": {"name": "jacobian"} | more}, "here").nodes
        for more in ({}, {"at": "init"}, {"at": "end"})
    )
    assert plain["measure"].id == said["measure"].id and "train" not in plain["measure"].inputs
    assert end["measure"].inputs["train"] == end["train"].id and end["train"].id == plain["train"].id
    other = resolve_cell(RAW | {"measure": {"name": "jacobian", "at": "end"}, "train": {"epochs": 3}}, "here").nodes
    assert other["measure"].id != end["measure"].id


def test_only_the_end_needs_a_training(tmp_path: Path) -> None:
    cells = {"density": [0.3, 0.5], "measure": {"name": "filters", "at": "end"}}
    plan = Study(tmp_path, ends=LINES | exhibit(**cells)).plan
    (name,) = plan.bundles("tiny", "measure")
    assert len(plan.inputs("measure", name, "train")) == 1
    told = jobs.load(plan.job("measure", name)).more["train"]
    trained = {node.id for node in plan.study("tiny").nodes("train")}
    assert len(trained) == 2 and trained == {cell.id for cell in jobs.load(json.dumps(told)).cells}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": "filters", "at": "middle"}, "at.*middle"),
        ({"name": "connectivity"}, "connectivity compares trained networks"),
        ({"name": "connectivity", "at": "init"}, "connectivity compares trained networks"),
        ({"name": "hessian", "eigenvalues": 3}, "unknown key"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_by_the_plan(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve_cell(RAW | {"measure": wrong}, "here")


def test_two_seeds_cannot_be_compared_where_there_is_one(tmp_path: Path) -> None:
    told = exhibit(density=0.3, measure={"name": "connectivity", "at": "end"})
    told["scales"]["tiny"]["seeds"] = [0]
    with pytest.raises(UserError, match="compares two seeds of a cell"):
        Study(tmp_path, pair=LINES | told).plan.study("tiny")
