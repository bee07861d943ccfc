"""Networks after their training, for a stage that looks at them: out of the store, trained again if they are gone.

What such a stage reads is told by content, so the code that trained is no part of its own digest: an edit there that
ends in the same weights makes nothing stale. Therefore training is imported by name, and only when it has to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sparse_ortho.artifacts import canonical, digest_arrays, digest_text, read_facts
from sparse_ortho.errors import UserError
from sparse_ortho.plan import job as jobs
from sparse_ortho.registry import load_path
from sparse_ortho.stages.bundle import Bundles, Context, from_start, place_of
from sparse_ortho.stages.program import refuse_other_code
from sparse_ortho.store import Result, Store


class Trained:
    """The trained seeds of the cells in a job of stage `train`, one at a time in memory."""

    def __init__(self, job: jobs.Job, context: Context, data: str, inits: Iterable[str]):
        refuse_other_code(job)
        self._job, self._data, self._inits = job, data, list(inits)
        # What the records of this run were written from is there, even when a run serves nothing that is older.
        store = Store(context.store.root)
        store.events = context.store.events
        self._context = replace(context, store=store)
        self._read = from_start(Bundles(self._inits), read_facts(data)["digest"])
        self._tasks = {task.id: task for task in job.cells}
        self._last: tuple[tuple[str, int], Result] | None = None

    def entry(self, identity: str, seed: int) -> dict[str, Any]:
        """Status, reason and content digest of a seed."""
        result = self._result(identity, seed)
        record = result.row["record"]
        digest = digest_arrays(result.tensors) if result.tensors else digest_text(canonical(record["reason"]))
        return {"row": {"status": record["status"], "reason": record["reason"]}, "digest": digest}

    def tensors(self, identity: str, seed: int) -> Mapping[str, np.ndarray]:
        return self._result(identity, seed).tensors

    def tricks(self, identity: str) -> Mapping[str, Any]:
        """The tricks that a cell trained with: those that never end are a part of its network."""
        return self._tasks[identity].spec.get("tricks", {})

    def next_seed(self, identity: str, seed: int) -> int:
        """The seed after this one among those that are planned, and after the last the first."""
        seeds = sorted(self._tasks[identity].seeds)
        if len(seeds) < 2:
            raise UserError(identity, "has one seed, and two are compared", found=seeds)
        return seeds[(seeds.index(seed) + 1) % len(seeds)]

    def _result(self, identity: str, seed: int) -> Result:
        if self._last is None or self._last[0] != (identity, seed):
            task = self._tasks[identity]
            key, _ = place_of(self._job, task, seed, self._read(task, seed))
            found = self._context.store.get("train", key)
            self._last = (identity, seed), found or self._again(task, seed)
        return self._last[1]

    def _again(self, task: jobs.Task, seed: int) -> Result:
        one = replace(self._job, bundle=f"{task.id}-s{seed}", cells=(replace(task, seeds=[seed]),))
        (made,) = load_path("sparse_ortho.stages.train:seeds")(one, self._context, self._data, self._inits)
        return made.result


def trained_job(job: jobs.Job) -> jobs.Job:
    """The job of stage `train` that another stage's job carries along; of no cells where none is looked at."""
    return jobs.load(canonical(job.more["train"])) if "train" in job.more else jobs.Job("train", job.bundle, {})
