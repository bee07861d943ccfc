"""What a Snakemake process sets up around its jobs: their environment, the lock of the run, the last words."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan import budget, paths, user_files
from sparse_ortho.plan.workflow import Plan

LOCK = f"{paths.RESULTS}/.lock"
QUESTIONS = {"plan", "why", "partial"}
_held: list[IO[str]] = []  # open as long as the process lives


def set_environment(plan: Plan) -> None:
    """Jobs run `python -m workflow_scripts.<stage>`: with this interpreter and these sources, from whatever folder.

    What is about a run and not about its results travels here and not in a job's text, where it would trigger reruns.
    """
    there = os.environ
    folder = there.get("SPARSE_ORTHO_DATA")
    if folder and not Path(folder).is_dir():  # else found by the data's job, with hours of others under way
        raise UserError("SPARSE_ORTHO_DATA", "is no folder", found=folder)
    there["PATH"] = _first(str(Path(sys.executable).parent), there.get("PATH", os.defpath))
    there["PYTHONPATH"] = _first(str(plan.root), there.get("PYTHONPATH", ""))
    there["SPARSE_ORTHO_SERVE"] = str(int(plan.config.store))
    there["SPARSE_ORTHO_CHECKPOINT"] = str(plan.config.checkpoint)
    there["SPARSE_ORTHO_SLOTS"] = str(plan.config.slots)
    budget.set_variable(plan)
    there[user_files.VARIABLE] = json.dumps(plan.places)


def take_lock(rules: set[str]) -> None:
    """The lock of this folder's run: held by this process and gone with it, so after a crash the same command works.

    Questions make no artifact, so they are answered beside a live run.
    """
    if rules <= QUESTIONS:
        return
    os.makedirs(paths.RESULTS, exist_ok=True)
    file = open(LOCK, "a")  # noqa: SIM115 (a lock lives as long as its file is open)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("error: another snakemake is at work in this folder; wait for it, or use another --directory")
    _held.append(file)


def workers(plan: Plan, resources: Mapping[str, Any]) -> int:
    """How many trainings this Snakemake runs at once, by its limits of GPUs, cores and jobs."""
    limits = [resources.get(name) for name in (["gpu"] if plan.device == "cuda" else ["_cores"]) + ["_nodes"]]
    known = [limit for limit in limits if isinstance(limit, int) and 0 < limit < sys.maxsize]
    return min(known, default=1)


def tell_results() -> None:
    """Where the report, the tables and the figures are, after a run that may have made some."""
    if not _held:
        return
    for name in ("report.html", "tables", "figures"):
        place = Path(paths.RESULTS, name)
        if place.exists():
            sys.stderr.write(f"{place.stem + ':':9}{place.resolve() if place.is_file() else place}\n")


def _first(entry: str, rest: str) -> str:
    return os.pathsep.join([entry, *(part for part in rest.split(os.pathsep) if part and part != entry)])
