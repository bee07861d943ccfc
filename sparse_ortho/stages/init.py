"""Stage `init`: the weights that a cell starts from, and the masks as its initialisation leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.bundle import Bundles, Context, Images, refusing, run, streams_of, write
from sparse_ortho.store import Result


def main(job: Job, context: Context, masks: list[str], output: str, data: Sequence[str] = ()) -> None:
    masked, images = Bundles(masks), Images(data)

    def inputs(task: Task, seed: int) -> dict[str, str]:
        told = task.spec.get("inputs", {})
        found = {"mask": masked.entry(told["mask"], seed)["digest"]} if "mask" in told else {}
        return found | ({"data": images.digest(told["data"])} if "data" in told else {})

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
            streams, batches = streams_of(task, seed), None
            if identity := task.spec.get("inputs", {}).get("data"):
                from sparse_ortho.stages.batches import SIZE, TrainingBatches

                batches = TrainingBatches(images.of(identity), streams, task.spec["init"].get("batch", SIZE))
            kept = initialised(model, given, task.spec["init"], streams, batches)
            weights = {f"weights/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
            arrays = {f"masks/{name}": mask for name, mask in kept.arrays().items()} if kept is not None else {}
            layers = {name: weights[f"weights/{name}"] for name in maskable(model)}
            active = {name: arrays[f"masks/{name}"] if arrays else np.ones(1) for name in layers}
            row: dict[str, Any] = {"status": "ok", "reason": None, "dense": kept is None}
            row["nonzeros"] = sum(int(np.count_nonzero(weight)) for weight in layers.values())
            row["layers"] = [[name, weight.size, float(active[name].mean())] for name, weight in layers.items()]
            row |= densities(row["layers"], sum(parameter.numel() for parameter in model.parameters()))
            return Result(row, weights | arrays)

        return refusing(initialise)

    write(output, job, run(job, context, inputs, make, news))


def densities(layers: Sequence[Sequence[Any]], parameters: int) -> dict[str, float]:
    """What is kept of the weights that masks are of, and of all parameters: biases and normalisation stay whole."""
    size, kept = sum(size for _, size, _ in layers), sum(size * density for _, size, density in layers)
    return {"parameters": parameters, "density": kept / size, "density_of_all": (parameters - size + kept) / parameters}


def news(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return row["reason"]
    return "dense" if row["dense"] else f"{row['nonzeros']} weights are not zero"
