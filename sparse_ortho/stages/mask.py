"""Stage `mask`: which weights a cell keeps, for each of its seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.bundle import Context, refusing, run, streams_of, write
from sparse_ortho.stages.options import options_of
from sparse_ortho.store import Result


def main(job: Job, context: Context, output: str) -> None:
    def make(task: Task, seed: int, _: Path) -> Result:
        from sparse_ortho.prune import choose
        from sparse_ortho.stages.starts import probe_for

        spec, streams = task.spec, streams_of(task, seed)
        probe = probe_for(spec, streams)
        score, score_options = options_of(spec["mask"]["score"])
        layers, layer_options = options_of(spec["mask"]["layers"])

        def chosen() -> Result:
            masks = choose(
                probe,
                spec["density"],
                score=score,
                layers=layer_options["densities"] if layers == "given" else layers,
                streams=streams,
                score_options=score_options,
                layer_options={} if layers == "given" else layer_options,
            )
            arrays = {f"masks/{name}": mask.numpy() for name, mask in masks.items()}
            kept, size = sum(int(a.sum()) for a in arrays.values()), sum(a.size for a in arrays.values())
            return Result({"status": "ok", "reason": None, "nonzeros": kept, "weights": size}, arrays)

        return refusing(chosen)

    write(output, job, run(job, context, lambda task, seed: {}, make, news))


def news(row: dict[str, Any]) -> str:
    return row["reason"] if row["status"] != "ok" else f"{row['nonzeros']} of {row['weights']} weights"
