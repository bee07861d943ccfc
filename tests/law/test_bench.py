"""Benches: what they return, what they are called, and that the stage keeps a time like any other result."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sparse_ortho import registry
from sparse_ortho.artifacts import read_tables
from sparse_ortho.bench import clock
from sparse_ortho.bench.clock import seconds_of
from sparse_ortho.bench.matrices import matrices
from sparse_ortho.bench.rotations import rotations
from sparse_ortho.bench.setting import Setting
from sparse_ortho.errors import UserError
from sparse_ortho.linalg.chain import density_path, expected_density
from sparse_ortho.plan.digest import stage_code, stage_modules
from sparse_ortho.plan.identity import Node, resolve_cell
from sparse_ortho.plan.job import Job, Task, load
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages import bench, data, init, mask
from sparse_ortho.stages.bundle import Context
from sparse_ortho.store import Store
from sparse_ortho.streams import Streams

SETTING = Setting(Streams(0))


class Steps:
    """A clock that a piece of work moves on by itself."""

    def __init__(self, costs: list[float]):
        self.now, self.costs, self.calls = 0.0, costs, 0

    def thread_time(self) -> float:
        return self.now

    def work(self) -> None:
        self.now += self.costs[min(self.calls, len(self.costs) - 1)]
        self.calls += 1


@pytest.mark.parametrize(
    ("costs", "repeats", "seconds", "calls"),
    [
        ([3.0, 2.0, 5.0], 3, 2.0, 3),  # the least
        ([3.0], 1, 3.0, 1),
        ([0.001, 0.0005], 2, 0.0005, 5),  # short: one to warm up, and 2 ms / 1 ms = 2 at a time, twice
    ],
)
def test_the_least_of_the_repetitions_is_told(
    costs: list[float], repeats: int, seconds: float, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(costs)
    monkeypatch.setattr(clock, "time", steps)
    assert seconds_of(steps.work, repeats) == pytest.approx(seconds)
    assert steps.calls == calls


@pytest.mark.parametrize(("method", "density"), [("eoi", 0.25), ("sao", 0.25), ("isometry", 0.25), ("qr", 1.0)])
def test_a_matrix_is_what_its_method_promises(method: Any, density: float) -> None:
    found = matrices(SETTING, method=method, size=32, density=0.25, repeats=1)
    assert found["seconds"] > 0 and found["density"] == pytest.approx(density, abs=0.02)
    assert found["residual"] < (0.05 if method == "isometry" else 1e-12)


def test_a_path_of_densities_is_the_chain_at_each_step() -> None:
    path = density_path(5, 9, 20)
    assert path.shape == (21,)
    assert [path[t] for t in (0, 1, 7, 20)] == [expected_density(5, 9, t) for t in (0, 1, 7, 20)]


def test_measured_densities_are_those_of_the_chain_within_their_errors() -> None:
    found = rotations(SETTING, rows=12, cols=20, draws=400, points=6, most=0.9)
    stops = [int(found[f"rotations/{at}"]) for at in range(6)]
    assert stops[0] == 0 and stops == sorted(set(stops)) and found["density/0"] == pytest.approx(1 / 20)
    for at, t in enumerate(stops):
        assert found[f"expected/{at}"] == expected_density(12, 20, t)
        assert found[f"closed/{at}"] == pytest.approx(1 / (1 + 19 * math.exp(-2 * t / 19)))
        assert abs(found[f"density/{at}"] - found[f"expected/{at}"]) <= 4 * found[f"error/{at}"] + 1e-12
    assert found["expected/5"] >= 0.9 > expected_density(12, 20, stops[5] - 1)
    assert rotations(SETTING, rows=20, cols=12, draws=20, points=3)["rotations/2"] == pytest.approx(
        rotations(SETTING, rows=12, cols=20, draws=20, points=3)["rotations/2"]
    )


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: matrices(SETTING, size=10, density=0.05), r"bench\.density: .*allowed: \[0\.1, 1\]"),
        (lambda: matrices(SETTING, size=0), r"bench\.size: must be at least 1"),
        (lambda: matrices(SETTING, density=1.5), r"bench\.density: out of range"),
        (lambda: matrices(SETTING, repeats=0), r"bench\.repeats: must be at least 1"),
        (lambda: rotations(SETTING, draws=1), r"bench\.draws: must be at least 2"),
        (lambda: rotations(SETTING, rows=4, cols=4, most=0.2), r"bench\.most: .*allowed: \(0\.25, 1\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(call: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        call()


# cells -----------------------------------------------------------------------------------------------------------

RAW = {"bench": {"name": "matrices", "method": "sao", "size": 64}, "data": "digits", "model": "mlp"}


def test_a_bench_without_a_network_depends_on_itself_alone() -> None:
    cell = resolve_cell(RAW, "here")
    assert list(cell.nodes) == ["bench"]
    node = cell.nodes["bench"]
    assert node.spec == {"bench": {"name": "matrices", "method": "sao", "size": 64}} and not node.inputs
    assert node.id.startswith("bench-matrices-sao-64-")
    assert resolve_cell({"bench": RAW["bench"]}, "here").nodes["bench"] == node  # whatever the study's networks
    told = {"name": "matrices", "method": "sao", "size": 64, "density": 0.125, "repeats": 3}
    assert resolve_cell({"bench": told}, "here").nodes["bench"].id == node.id
    assert resolve_cell({"bench": "matrices"}, "here").nodes["bench"].id != node.id
    code = stage_modules("bench", node.methods)
    assert "sparse_ortho.linalg.givens" in code
    assert not [name for name in code if name.startswith(("sparse_ortho.training", "sparse_ortho.models"))]


def test_a_bench_of_a_network_has_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.TABLES["benches"], "forward", "tests.law.test_bench:forward")
    registry.table.cache_clear()
    try:
        raw = {"bench": "forward", "data": "digits", "model": "mlp", "mask": "erk", "density": 0.2, "init": "eoi"}
        cell = resolve_cell(raw, "here")
        node = cell.nodes["bench"]
        assert node.inputs == {"data": cell.nodes["data"].id, "init": cell.nodes["init"].id}
        assert sorted({n.stage for n in cell.needed("bench")}) == ["bench", "data", "init", "mask"]
        assert resolve_cell({**raw, "bench": None}, "here").nodes["train"] == cell.nodes["train"]
    finally:
        registry.table.cache_clear()


def job_of(node: Node, seeds: list[int], planned: Plan) -> Job:
    task = Task(node.id, node.spec, seeds, stage_code(node.stage, node.methods), sorted(node.methods))
    return Job(node.stage, "tiny", planned.env(node.stage), [task], planned.more(node.stage, node))


def test_the_stage_hands_a_network_to_a_bench_that_needs_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.TABLES["benches"], "forward", "tests.law.test_bench:forward")
    registry.table.cache_clear()
    try:
        model = {"name": "mlp", "depth": 3, "width": 16}
        raw = {"bench": "forward", "data": "digits", "model": model, "mask": "erk", "density": 0.25, "init": "eoi"}
        cell, planned = resolve_cell(raw, "here"), plan(tmp_path)
        context = Context(Store(str(tmp_path / "store")), lambda line: None)
        files = {stage: str(tmp_path / f"{stage}.safetensors") for stage in ("data", "mask", "init")}
        data.main(job_of(cell.nodes["data"], [], planned), context, files["data"])
        mask.main(job_of(cell.nodes["mask"], [3], planned), context, [files["data"]], files["mask"])
        init.main(job_of(cell.nodes["init"], [3], planned), context, [files["mask"]], files["init"])
        job = job_of(cell.nodes["bench"], [3], planned)
        bench.main(job, context, [files["data"]], [files["init"]], str(tmp_path / "bench.parquet"))
    finally:
        registry.table.cache_clear()
    found = {row["quantity"]: row["value"] for row in read_tables([str(tmp_path / "bench.parquet")])}
    size = 64 * 16 + 16 * 16 + 16 * 10
    assert found == {"logits": 30, "labels": 3, "density": pytest.approx(round(0.25 * size) / size)}


NEEDS = ("network",)  # of `forward`


def forward(setting: Setting) -> dict[str, float]:
    from sparse_ortho.bench.network import network_of

    network = network_of(setting)
    images, labels = network.take(3)
    logits = network.model(images)
    assert network.masks is not None
    return {"logits": float(logits.numel()), "labels": float(len(labels)), "density": network.masks.density}


STUDY = {
    "title": "Tiny",
    "paper": "none",
    "scales": {"tiny": {"seeds": [0], "cell": {"data": "digits", "model": "mlp"}}},
}
TIMING = {
    "kind": "timing", "title": "t", "caption": "c", "category": "k", "x": "bench.size", "quantities": ["seconds"],
    "hue": "bench.method",
    "scales": {"tiny": {"cells": [{"bench.method": ["eoi", "sao"], "bench.size": [16, 32], "bench": "matrices"}]}},
}  # fmt: skip


def plan(folder: Path) -> Plan:
    place = folder / "studies" / "tiny"
    place.mkdir(parents=True)
    (place / "study.yaml").write_text(yaml.safe_dump(STUDY))
    (place / "times.yaml").write_text(yaml.safe_dump(TIMING))
    return Plan({"studies": ["tiny"], "scale": "tiny", "device": "cpu"}, folder)


def test_the_plan_makes_benches_of_one_study_in_one_process_and_their_records_are_targets(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    (name,) = planned.bundles("tiny", "bench")
    assert name == "tiny-tiny-bench-alone-all"
    assert planned.records("tiny") == [f"results/benches/{name}.parquet"] == planned.exhibit_inputs("tiny", "times")
    assert planned.inputs("bench", name, "data") == planned.inputs("bench", name, "init") == []
    assert not planned.bundles("tiny", "train") and len(load(planned.job("bench", name)).cells) == 4


def test_a_time_is_kept_in_the_store_and_a_refused_bench_is_a_row(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    job = load(planned.job("bench", "tiny-tiny-bench-alone-all"))
    job.cells[0].spec["bench"]["density"] = 0.001  # type: ignore[index]
    context = Context(Store(str(tmp_path / "store")), lambda line: None)
    paths = [str(tmp_path / name) for name in ("first.parquet", "again.parquet")]
    for path in paths:
        bench.main(job, context, [], [], path)
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()
    rows = list(read_tables([paths[0]]))
    bad = [row for row in rows if row["status"] == "refused"]
    assert [row["cell"] for row in bad] == [job.cells[0].id] and "bench.density" in bad[0]["reason"]
    good = [row for row in rows if row["status"] == "ok"]
    assert len(good) == 9 and {row["quantity"] for row in good} == {"seconds", "density", "residual"}
    assert all(np.isfinite(row["value"]) for row in good)


def test_every_bench_is_told_apart_by_its_words() -> None:
    cells = [{"bench": {"name": name}} for name in registry.TABLES["benches"] if name in ("matrices", "rotations")]
    nodes = [resolve_cell(cell, "here").nodes["bench"] for cell in cells]
    assert [node.id.split("-")[1] for node in nodes] == ["matrices", "rotations"]
    assert json.dumps([dict(node.spec) for node in nodes])
