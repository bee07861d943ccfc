"""Stage `weights`: the trained weights and masks of one seed as a file of their own, out of the store."""

from __future__ import annotations

from sparse_ortho.artifacts import write_tensors
from sparse_ortho.errors import UserError
from sparse_ortho.plan.job import Job
from sparse_ortho.stages.bundle import Context, identity_facts
from sparse_ortho.stages.train import seeds


def main(job: Job, context: Context, data: str, inits: list[str], output: str) -> None:
    (made,) = seeds(job, context, data, inits)
    record = made.result.row["record"]
    if not made.result.tensors:
        raise UserError(job.bundle, f"has no weights: {record['status']}, {record['reason']}")
    network = {key: made.task.spec[key] for key in ("model", "shape", "classes")}
    facts = network | identity_facts(made.task) | {"env": dict(job.env), "seed": made.seed, "inputs": dict(made.inputs)}
    write_tensors(output, made.result.tensors, facts | {"record": record})
