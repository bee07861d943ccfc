"""Stage `data`: a data set as one artifact of uint8 tensors, labels and its stored split."""

from __future__ import annotations

import os
from pathlib import Path

from sparse_ortho.artifacts import digest_arrays, write_tensors
from sparse_ortho.data.build import build
from sparse_ortho.plan.job import Job
from sparse_ortho.plan.user_files import place_of
from sparse_ortho.stages.bundle import Context, identity_facts
from sparse_ortho.stages.options import options_of


def main(job: Job, context: Context, output: str) -> None:
    (task,) = job.cells
    name, options = options_of(task.spec["data"])
    shared = {key: options.pop(key) for key in ("validation", "take") if key in options}
    cache = Path("results/downloads")
    own = {"folder": os.environ.get("SPARSE_ORTHO_DATA"), "place": place_of(name, os.environ)}
    arrays, facts = build(name, options=options, cache=cache, **own, **shared)
    facts = {"stage": "data", "env": dict(job.env), "id": task.id, "facts": facts, "digest": digest_arrays(arrays)}
    write_tensors(output, arrays, facts | identity_facts(task))
    parts = ", ".join(f"{len(arrays[part])} {part}" for part in ("train", "validation", "test"))
    context.say(f"data {task.id}: {parts}")
