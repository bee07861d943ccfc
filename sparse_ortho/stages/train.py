"""Stage `train`: every seed of a cell trained from its initialised weights; records a seed, curves an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import read_facts, read_tensors, write_table
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.bundle import Bundles, Context, Made, from_start, identity_facts, run, streams_of
from sparse_ortho.store import Result
from sparse_ortho.training.columns import CURVE_COLUMNS, RECORD_COLUMNS
from sparse_ortho.training.launched import launched


def main(job: Job, context: Context, data: str, inits: list[str], records: str, curves: str) -> None:
    made = seeds(job, context, data, inits)
    facts = {"stage": "train", "env": dict(job.env), "cells": {task.id: identity_facts(task) for task in job.cells}}
    rows = [(m.result.row, {"cell": m.task.id, "seed": m.seed}) for m in made]
    write_table(records, [row["record"] | key for row, key in rows], RECORD_COLUMNS, facts)
    write_table(curves, [line | key for row, key in rows for line in row["curves"]], CURVE_COLUMNS, facts)


def seeds(job: Job, context: Context, data: str, inits: list[str]) -> list[Made]:
    """Every seed of the job, trained or served. A process that was started as another rank than 0 ends in here."""
    started = launched()
    if started and any(task.spec["train"].get("ranks") == started[1] for task in job.cells):
        from sparse_ortho.training.rank_processes import enter
        from sparse_ortho.training.together import serve

        enter(serve, job.env["device"])
    starts, images = Bundles(inits), {}

    def make(task: Task, seed: int, scratch: Path) -> Result:
        from sparse_ortho.stages.training import train_task

        start = starts.entry(task.spec["inputs"]["init"], seed)["row"]
        if start["status"] != "ok":
            return Result({"record": {"status": start["status"], "reason": start["reason"]}, "curves": []})
        if not images:
            images["arrays"], images["facts"] = read_tensors(data)
        tensors = starts.tensors(task.spec["inputs"]["init"], seed)
        return train_task(task, streams_of(task, seed), images, tensors, job.env["device"], context, scratch, seed)

    return run(job, context, from_start(starts, read_facts(data)["digest"]), make, news)


def news(row: dict[str, Any]) -> str:
    record = row["record"]
    if record["status"] != "ok":
        return f"{record['status']}: {record['reason']}"
    return f"test accuracy {record['test_accuracy_last']:.2f} %"
