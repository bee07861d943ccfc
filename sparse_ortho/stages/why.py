"""Why a target is stale: for every planned job, what differs from how its artifact was made."""

from __future__ import annotations

from pathlib import Path

from sparse_ortho.artifacts import read_json
from sparse_ortho.plan import paths
from sparse_ortho.plan.changes import differences
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages.planning import planned_jobs


def reasons(plan: Plan) -> list[str]:
    """A line for every reason; one that says so when there is none."""
    lines = []
    for stage, name, text, outputs in planned_jobs(plan):
        missing = [path for path in outputs if not Path(path).exists()]
        record = Path(paths.provenance(stage, name))
        if missing:
            lines.append(f"{stage} {name}: not made yet ({missing[0]} is missing)")
        elif not record.is_file():
            lines.append(f"{stage} {name}: nothing is known of how it was made ({record} is missing)")
        else:
            lines += [f"{stage} {name}: {reason}" for reason in differences(read_json(record), text)]
    return lines or ["everything is up to date"]
