"""Stage `train`: every seed of a cell trained from its initialised weights; records a seed, curves an epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_ortho.artifacts import read_facts, read_tensors, write_table
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.bundle import Bundles, Context, Made, from_start, identity_facts, run, streams_of
from sparse_ortho.stages.seeds_together import SeedsTogether
from sparse_ortho.store import Result
from sparse_ortho.training.columns import CURVE_COLUMNS, RECORD_COLUMNS
from sparse_ortho.training.launched import launched

if TYPE_CHECKING:
    from sparse_ortho.training.parts import Part


def main(job: Job, context: Context, data: str, inits: list[str], records: str, curves: str) -> None:
    made = seeds(job, context, data, inits)
    facts = {"stage": "train", "env": dict(job.env), "cells": {task.id: identity_facts(task) for task in job.cells}}
    rows = [(m.result.row, {"cell": m.task.id, "seed": m.seed}) for m in made]
    write_table(records, [row["record"] | key for row, key in rows], RECORD_COLUMNS, facts)
    write_table(curves, [line | key for row, key in rows for line in row["curves"]], CURVE_COLUMNS, facts)


def seeds(job: Job, context: Context, data: str, inits: list[str]) -> list[Made]:
    """Every seed of the job, trained or served. A process that was started as another rank than 0 ends in here."""
    training = Training(job, context, data, inits)
    together = SeedsTogether(training)
    return run(job, context, training.inputs, together.make, news, together.made)


class Training:
    """What makes a seed of a job, and what it reads; the levels of a ladder are made by it as well."""

    def __init__(self, job: Job, context: Context, data: str, inits: list[str]):
        started = launched()
        if started and any(task.spec["train"].get("ranks") == started[1] for task in job.cells):
            from sparse_ortho.training.rank_processes import enter
            from sparse_ortho.training.together import serve

            enter(serve, job.env["device"])
        self.job, self.context, self.data = job, context, data
        self.starts = Bundles(inits)
        self.inputs = from_start(self.starts, read_facts(data)["digest"])
        self.images: dict[str, Any] = {}

    def make(self, task: Task, seed: int, scratch: Path, parts: Sequence[Part] = ()) -> Result:
        """One seed trained; `parts` only look on."""
        start = self.starts.entry(task.spec["inputs"]["init"], seed)["row"]
        about = self.about(start)
        if start["status"] != "ok":
            return Result({"record": about | {"status": start["status"], "reason": start["reason"]}, "curves": []})
        if self.job.env["device"] == "cuda":
            self.context.devices(max(ranks(other) for other in self.job.cells))
        from sparse_ortho.stages.training import train_task

        images, tensors = self.pictures(), self.starts.tensors(task.spec["inputs"]["init"], seed)
        place = (self.job.env["device"], self.context, scratch, seed)
        result = train_task(task, streams_of(task, seed), images, tensors, *place, parts)
        return Result(result.row | {"record": result.row["record"] | about}, result.tensors)

    def about(self, start: Mapping[str, Any]) -> dict[str, Any]:
        """What a record says of the weights that a seed starts from."""
        return {key: start[key] for key in ("level",) if key in start}

    def pictures(self) -> dict[str, Any]:
        """The data set, read once a process; what training makes of it is kept there too."""
        if not self.images:
            self.images["arrays"], self.images["facts"] = read_tensors(self.data)
        return self.images


def ranks(task: Task) -> int:
    """Processes, and so devices, of a training."""
    return int(task.spec["train"].get("ranks", 1))


def news(row: dict[str, Any]) -> str:
    record = row["record"]
    if record["status"] != "ok":
        return f"{record['status']}: {record['reason']}"
    return f"test accuracy {record['test_accuracy_last']:.2f} %"
