"""Stage `measure`: facts of networks as they were initialised; nothing is trained for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import read_facts, read_tensors, write_table
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.bundle import Bundles, Context, from_start, identity_facts, run, split, streams_of
from sparse_ortho.store import Result

COLUMNS = {
    "cell": "string",
    "seed": "int64",
    "status": "string",
    "reason": "string",
    "quantity": "string",
    "value": "double",
}


def main(job: Job, context: Context, data: str, inits: list[str], output: str) -> None:
    starts, images = Bundles(inits), {}

    def make(task: Task, seed: int, _: Path) -> Result:
        from sparse_ortho.stages.measuring import measure_task

        start = starts.entry(task.spec["inputs"]["init"], seed)["row"]
        about = {"status": start["status"], "reason": start["reason"]}
        if start["status"] != "ok":
            return Result(about | {"measures": [about | {"quantity": None, "value": None}]})
        if not images:
            images["arrays"], images["facts"] = read_tensors(data)
        weights = dict(split(starts.tensors(task.spec["inputs"]["init"], seed), "weights"))
        found = measure_task(task, streams_of(task, seed), images, weights)
        return Result(about | {"measures": [about | {"quantity": n, "value": value} for n, value in found.items()]})

    made = run(job, context, from_start(starts, read_facts(data)["digest"]), make, news)
    facts = {"stage": "measure", "env": dict(job.env), "cells": {task.id: identity_facts(task) for task in job.cells}}
    rows = [line | {"cell": m.task.id, "seed": m.seed} for m in made for line in m.result.row["measures"]]
    write_table(output, rows, COLUMNS, facts)


def news(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return row["reason"]
    return ", ".join(f"{line['quantity']} {line['value']:.4g}" for line in row["measures"])
