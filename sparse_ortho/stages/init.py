"""Stage `init`: the weights that a cell starts from, and the masks as its initialisation leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.bundle import Bundles, Context, refusing, run, streams_of, write
from sparse_ortho.store import Result


def main(job: Job, context: Context, masks: list[str], output: str) -> None:
    masked = Bundles(masks)

    def inputs(task: Task, seed: int) -> dict[str, str]:
        identity = task.spec.get("inputs", {}).get("mask")
        return {"mask": masked.entry(identity, seed)["digest"]} if identity else {}

    def make(task: Task, seed: int, _: Path) -> Result:
        from sparse_ortho.devices import prepare
        from sparse_ortho.masks import Masks, maskable
        from sparse_ortho.stages.networks import build
        from sparse_ortho.stages.starts import initialised

        prepare("cpu", 1)  # the same bytes whatever the machine
        model, given = build(task.spec), None
        if identity := task.spec.get("inputs", {}).get("mask"):
            row = masked.entry(identity, seed)["row"]
            if row["status"] != "ok":
                return Result(row)
            given = Masks.from_arrays(masked.tensors(identity, seed, "masks/"), model)

        def initialise() -> Result:
            kept = initialised(model, given, task.spec["init"], streams_of(task, seed))
            weights = {f"weights/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
            arrays = {f"masks/{name}": mask for name, mask in kept.arrays().items()} if kept is not None else {}
            layers = {name: weights[f"weights/{name}"] for name in maskable(model)}
            active = {name: arrays[f"masks/{name}"] if arrays else np.ones(1) for name in layers}
            row: dict[str, Any] = {"status": "ok", "reason": None, "dense": kept is None}
            row["nonzeros"] = sum(int(np.count_nonzero(weight)) for weight in layers.values())
            row["layers"] = [[name, weight.size, float(active[name].mean())] for name, weight in layers.items()]
            return Result(row, weights | arrays)

        return refusing(initialise)

    write(output, job, run(job, context, inputs, make, news))


def news(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return row["reason"]
    return "dense" if row["dense"] else f"{row['nonzeros']} weights are not zero"
