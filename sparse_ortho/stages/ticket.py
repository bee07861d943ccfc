"""Stage `ticket`: one level of a ladder. What the level below starts from is trained, pruned, and goes back.

The training is that of the cell with one level less: it is made or served under the key that stage `train` has for it,
so nothing is trained twice, whichever job comes first. What the store lacks is trained again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparse_ortho.artifacts import read_facts, read_tensors
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages import train
from sparse_ortho.stages.bundle import Bundles, Context, place_of, refusing, run, streams_of, write
from sparse_ortho.stages.trained import trained_job
from sparse_ortho.store import Result

TAKEN = ("ticket", "signs")  # roles of other ladders: whose masks, and whose signs


def main(job: Job, context: Context, data: str, inits: list[str], tickets: list[str], output: str) -> None:
    below, others, digest = Bundles(inits), Bundles(tickets), read_facts(data)["digest"]
    levels = Levels(trained_job(job), context, data, inits)

    def inputs(task: Task, seed: int) -> dict[str, str]:
        made_from = task.spec["inputs"]
        read = {"data": digest, "init": below.entry(made_from["init"], seed)["digest"]}
        return read | {role: others.entry(made_from[role], seed)["digest"] for role in TAKEN if role in made_from}

    def make(task: Task, seed: int, scratch: Path) -> Result:
        made_from, tensors = task.spec["inputs"], dict[str, Mapping[str, np.ndarray]]()
        for role, source in (("init", below), *((role, others) for role in TAKEN)):
            if role in made_from:
                row = source.entry(made_from[role], seed)["row"]
                if row["status"] != "ok":
                    return Result({"status": row["status"], "reason": row["reason"], "level": task.spec["level"]})
                tensors[role] = source.tensors(made_from[role], seed)
        if "train" in made_from:
            result = levels.trained(made_from["train"], seed)
            if (record := result.row["record"])["status"] != "ok":
                reason = f"level {task.spec['level'] - 1}: {record['reason']}"
                return Result({"status": record["status"], "reason": reason, "level": task.spec["level"]})
            tensors["train"] = result.tensors
        if "early" in made_from:
            tensors["early"] = levels.early(made_from["early"], seed, task.spec["ticket"]["rewind"], scratch)
        from sparse_ortho.stages.ticketing import drawn

        return refusing(lambda: drawn(task.spec, streams_of(task, seed), tensors, levels.images))

    write(output, job, run(job, context, inputs, make, news))


class Levels:
    """The trainings below the levels of a job."""

    def __init__(self, job: Job, context: Context, data: str, inits: list[str]):
        self._job, self._context, self._data = job, context, data
        self._training = train.Training(job, context, data, inits)
        self._tasks = {task.id: task for task in job.cells}

    def trained(self, identity: str, seed: int) -> Result:
        """The result of stage `train`, made now if it is not there."""
        task, made = self._tasks[identity], self._training
        key, about = place_of(self._job, task, seed, made.inputs(task, seed))
        result, fresh = self._context.store.ensure("train", key, about, lambda scratch: made.make(task, seed, scratch))
        if fresh:
            self._context.say(f"train {identity} seed {seed}: {train.news(result.row)}")
        return result

    def early(self, identity: str, seed: int, at: str, scratch: Path) -> dict[str, np.ndarray]:
        """The weights that the same training has after some of its steps."""
        from sparse_ortho.training.early import KeptEarly
        from sparse_ortho.training.tree import numpy

        part = KeptEarly(at)
        self._training.make(self._tasks[identity], seed, scratch, (part,))
        return {f"weights/{name}": numpy(value) for name, value in part.kept.items()}

    def images(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Arrays and facts of the data set, for a score that looks at it."""
        arrays, facts = read_tensors(self._data)
        return arrays, facts["facts"]


def news(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return row["reason"]
    empty = f", none in {', '.join(row['empty'])}" if row["empty"] else ""
    return f"level {row['level']}: {row['kept']} of {row['weights']} weights{empty}"
