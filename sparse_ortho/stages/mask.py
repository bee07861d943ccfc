"""Stage `mask`: which weights a cell keeps, for each of its seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import read_facts, read_tensors
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.bundle import Context, refusing, run, streams_of, write
from sparse_ortho.store import Result


def main(job: Job, context: Context, data: list[str], output: str) -> None:
    files = {facts["id"]: (file, facts) for file in data for facts in (read_facts(file),)}
    images: dict[str, Any] = {}

    def inputs(task: Task, seed: int) -> dict[str, str]:
        return {role: files[identity][1]["digest"] for role, identity in task.spec.get("inputs", {}).items()}

    def images_of(task: Task) -> Any:
        identity = task.spec.get("inputs", {}).get("data")
        if identity and identity not in images:
            images[identity] = (read_tensors(files[identity][0])[0], files[identity][1]["facts"])
        return images.get(identity)

    def make(task: Task, seed: int, _: Path) -> Result:
        from sparse_ortho.devices import prepare
        from sparse_ortho.stages.chosen import file_of, masks_of
        from sparse_ortho.stages.starts import probe_for

        prepare("cpu", 1)  # the same bytes whatever the machine
        spec, streams, file = task.spec, streams_of(task, seed), file_of(task.spec, job.more.get("files", {}))

        def chosen() -> Result:
            probe = probe_for(spec, streams, images_of(task))
            masks, about = masks_of(spec, probe, streams, file)
            arrays = {f"masks/{name}": mask.numpy() for name, mask in masks.items()}
            kept, size = sum(int(a.sum()) for a in arrays.values()), sum(a.size for a in arrays.values())
            return Result({"status": "ok", "reason": None, "nonzeros": kept, "weights": size} | about, arrays)

        return refusing(chosen)

    write(output, job, run(job, context, inputs, make, news))


def news(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return row["reason"]
    told = f"{row['nonzeros']} of {row['weights']} weights"
    if row["off_path"]:
        told += f", {row['off_path']} of them on no path"
    return told + (f", layers without any: {', '.join(row['empty'])}" if row["empty"] else "")
