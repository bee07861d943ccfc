"""Stage `bench`: measured times and what is measured beside a network; the one stage whose results are of a machine.

A time is kept like any other result, under what was measured and by which code, so a figure of times is made once. On
which machine is in the provenance of the job.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import read_facts, read_tensors, write_table
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.bundle import Bundles, Context, from_start, identity_facts, refusing, run, split, streams_of
from sparse_ortho.store import Result

COLUMNS = {
    "cell": "string",
    "seed": "int64",
    "status": "string",
    "reason": "string",
    "quantity": "string",
    "value": "double",
}


def main(job: Job, context: Context, data: list[str], inits: list[str], output: str) -> None:
    starts, images = Bundles(inits), {}

    def inputs(task: Task, seed: int) -> dict[str, str]:
        if "inputs" not in task.spec:
            return {}
        return dict(from_start(starts, read_facts(data[0])["digest"])(task, seed))

    def make(task: Task, seed: int, _: Path) -> Result:
        network: dict[str, Any] = {}
        if identity := task.spec.get("inputs", {}).get("init"):
            if (row := starts.entry(identity, seed)["row"])["status"] != "ok":
                return _refused(row)
            if not images:
                images["arrays"], images["facts"] = read_tensors(data[0])
            tensors = starts.tensors(identity, seed)
            network = {family: dict(split(tensors, family)) for family in ("weights", "masks")} | {"images": images}
        result = refusing(lambda: _measured(task, seed, network))
        return result if result.row["status"] == "ok" else _refused(result.row)

    made = run(job, context, inputs, make, news)
    facts = {"stage": "bench", "env": dict(job.env), "cells": {task.id: identity_facts(task) for task in job.cells}}
    rows = [line | {"cell": m.task.id, "seed": m.seed} for m in made for line in m.result.row["benches"]]
    write_table(output, rows, COLUMNS, facts)


def _measured(task: Task, seed: int, network: dict[str, Any]) -> Result:
    from sparse_ortho.bench.setting import Setting
    from sparse_ortho.devices import prepare
    from sparse_ortho.registry import load
    from sparse_ortho.stages.options import options_of

    prepare("cpu", 1)  # one thread; that of numpy's BLAS is set by the rule, before numpy is there
    name, options = options_of(task.spec["bench"])
    found = load("benches", name)(Setting(streams_of(task, seed), task.spec, **network), **options)
    about = {"status": "ok", "reason": None}
    return Result(about | {"benches": [about | {"quantity": n, "value": v} for n, v in found.items()]})


def _refused(row: dict[str, Any]) -> Result:
    about = {"status": row["status"], "reason": row["reason"]}
    return Result(about | {"benches": [about | {"quantity": None, "value": None}]})


def news(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return row["reason"]
    return ", ".join(f"{line['quantity']} {line['value']:.4g}" for line in row["benches"][:4])
