"""The budget of a run (`max_hours`): what each job may take of it. About the run, so in no job's text.

    until = now + min(left, left * workers * nominal / sum of the nominal cost of what has not begun)

`left` is the time until the run's end. A job that needs less than its part leaves more to those that begin later, so
all cells come to about equally many finished seeds instead of some cells to all of theirs. Nominal cost only divides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import write_json
from sparse_ortho.plan import paths
from sparse_ortho.plan.workflow import Plan

VARIABLE = "SPARSE_ORTHO_BUDGET"  # the file that says what a run may take
FILE = f"{paths.RESULTS}/.budget.json"
SHARED = ("ticket", "train")  # stages that are given parts of the time; the others only end with the run
ENDED = 3  # exit status of a job that had to stop


def set_variable(plan: Plan) -> None:
    """For the jobs of this process: only a run with a budget has one, whatever an earlier run has left."""
    if plan.config.max_hours is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = os.path.abspath(FILE)


def begin(plan: Plan, jobs: Iterable[tuple[str, Mapping[str, Any]]], workers: int) -> None:
    """Write down when the run ends and what each of its jobs, (rule, wildcards), costs nominally."""
    if plan.config.max_hours is None:
        return
    names = [(rule, wildcards["bundle"]) for rule, wildcards in jobs if rule in SHARED]
    cost = {f"{stage}/{name}": max(plan.seconds(plan.bundle(stage, name)), 1.0) for stage, name in names}
    write_json(FILE, {"until": time.time() + 3600 * plan.config.max_hours, "workers": max(workers, 1), "cost": cost})
    Path(FILE + ".begun").unlink(missing_ok=True)


def until(file: str, stage: str, bundle: str, now: float) -> float:
    """When a job that begins now has to end; it is written down as begun."""
    told, name, begun = json.loads(Path(file).read_text()), f"{stage}/{bundle}", Path(file + ".begun")
    end, cost = told["until"], told["cost"]
    if name not in cost:
        return end
    before = set(begun.read_text().split()) if begun.exists() else set[str]()
    waiting = sum(seconds for other, seconds in cost.items() if other not in before or other == name)
    with open(begun, "a") as lines:
        lines.write(name + "\n")
    left = max(end - now, 0.0)
    return now + min(left, left * told["workers"] * cost[name] / waiting)


def tell(plan: Plan) -> None:
    """After a run that did not make everything: the tables and figures of what is finished."""
    if plan.config.max_hours is not None and Path(FILE).exists():
        sys.stderr.write("the exhibits of what is finished go to results/partial; the same command goes on\n")
        partial = [sys.executable, "-m", "workflow_scripts.partial", "--config", plan.config_job()]
        subprocess.run(partial, check=False)
