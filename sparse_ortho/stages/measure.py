"""Stage `measure`: facts of networks as they were initialised, or after their training; nothing is trained for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import read_facts, read_tensors, write_table
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.bundle import Bundles, Context, identity_facts, run, streams_of
from sparse_ortho.stages.trained import Trained, trained_job
from sparse_ortho.store import Result

COLUMNS = {
    "cell": "string",
    "seed": "int64",
    "status": "string",
    "reason": "string",
    "quantity": "string",
    "value": "double",
}
Place = tuple[Any, str, int]  # where a network is found: its source, identity and seed


def main(job: Job, context: Context, data: str, inits: list[str], output: str) -> None:
    images, data_digest = {}, read_facts(data)["digest"]
    starts, ends = Bundles(inits), Trained(trained_job(job), context, data, inits)

    def networks(task: Task, seed: int) -> dict[str, Place]:
        """Role -> a network that is looked at: as it starts, or after training; `other` is the next seed's."""
        if "train" not in task.spec["inputs"]:
            return {"init": (starts, task.spec["inputs"]["init"], seed)}
        identity = task.spec["inputs"]["train"]
        pair = {"other": (ends, identity, ends.next_seed(identity, seed))} if task.spec.get("pair") else {}
        return {"train": (ends, identity, seed)} | pair

    def inputs(task: Task, seed: int) -> dict[str, str]:
        found = networks(task, seed).items()
        return {"data": data_digest} | {role: source.entry(*place)["digest"] for role, (source, *place) in found}

    def make(task: Task, seed: int, _: Path) -> Result:
        from sparse_ortho.stages.measuring import measure_task

        found = networks(task, seed).values()
        rows = [source.entry(*place)["row"] for source, *place in found]
        worst = next((row for row in rows if row["status"] != "ok"), rows[0])
        about = {key: worst[key] for key in ("status", "reason")}
        if about["status"] != "ok":
            return Result(about | {"measures": [about | {"quantity": None, "value": None}]})
        if not images:
            images["arrays"], images["facts"] = read_tensors(data)
        weights = [source.tensors(*place) for source, *place in found]
        tricks = ends.tricks(task.spec["inputs"]["train"]) if "train" in task.spec["inputs"] else {}
        values = measure_task(task, streams_of(task, seed), images, weights, tricks)
        return Result(about | {"measures": [about | {"quantity": n, "value": value} for n, value in values.items()]})

    made = run(job, context, inputs, make, news)
    facts = {"stage": "measure", "env": dict(job.env), "cells": {task.id: identity_facts(task) for task in job.cells}}
    rows = [line | {"cell": m.task.id, "seed": m.seed} for m in made for line in m.result.row["measures"]]
    write_table(output, rows, COLUMNS, facts)


def news(row: dict[str, Any]) -> str:
    """What was found, without what is told by layer or by place."""
    if row["status"] != "ok":
        return row["reason"]
    whole = [line for line in row["measures"] if "/" not in line["quantity"]]
    return ", ".join(f"{line['quantity']} {line['value']:.4g}" for line in whole)
