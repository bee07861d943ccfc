"""Stage `mask`: which weights a cell keeps, for each of its seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import read_facts, read_tensors
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.bundle import Context, refusing, run, streams_of, write
from sparse_ortho.stages.options import options_of
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
        from sparse_ortho.prune import choose
        from sparse_ortho.stages.starts import probe_for

        prepare("cpu", 1)  # the same bytes whatever the machine
        spec, streams = task.spec, streams_of(task, seed)
        probe = probe_for(spec, streams, images_of(task))
        score, score_options = options_of(spec["mask"]["score"])
        layers, layer_options = options_of(spec["mask"]["layers"])
        who: dict[str, Any] = {"layers": layer_options["densities"] if layers == "given" else layers, "score": score}
        how: dict[str, Any] = {
            "score_options": score_options,
            "layer_options": {} if layers == "given" else layer_options,
        }

        def chosen() -> Result:
            masks = choose(probe, spec["density"], streams=streams, **who, **how)
            arrays = {f"masks/{name}": mask.numpy() for name, mask in masks.items()}
            kept, size = sum(int(a.sum()) for a in arrays.values()), sum(a.size for a in arrays.values())
            return Result({"status": "ok", "reason": None, "nonzeros": kept, "weights": size}, arrays)

        return refusing(chosen)

    write(output, job, run(job, context, inputs, make, news))


def news(row: dict[str, Any]) -> str:
    return row["reason"] if row["status"] != "ok" else f"{row['nonzeros']} of {row['weights']} weights"
