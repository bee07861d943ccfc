"""Stage `cell`: the records of one cell, cut out of its bundle."""

from __future__ import annotations

from sparse_ortho.artifacts import read_tables, write_table
from sparse_ortho.plan.job import Job
from sparse_ortho.stages.bundle import Context
from sparse_ortho.training.columns import RECORD_COLUMNS


def main(job: Job, context: Context, records: list[str], output: str) -> None:
    (task,) = job.cells
    rows = {row["seed"]: row for row in read_tables(records) if row["cell"] == task.id}
    write_table(output, [rows[seed] for seed in sorted(rows)], RECORD_COLUMNS, {"cell": task.id})
    context.say(f"cell {task.id}: {len(rows)} of {len(task.seeds)} seeds")
