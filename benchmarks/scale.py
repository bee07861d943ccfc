"""The forecast of `workflow_scripts.plan --forecast` against runs, and what 100,000 cells on 64 devices would be.

    .venv/bin/python -m benchmarks.scale [--cells 24] [--epochs 12]

A small study runs on one core; from what it left the makespan on one and on two cores is forecast, and the second is
then measured by another run of the same study from nothing. The forecast takes workers for as fast beside each other as
alone. Two virtual cores may be two threads of one, and other work comes and goes, so the forecast is also told for jobs
as slow as they were in the second run:

    forecast at the same pace = forecast * seconds of all jobs in the second run / seconds of all jobs in the first

Besides: time and memory of planning 4,000 cells, on which the limits rest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.bundles import run, study
from benchmarks.dry_run import checkout
from benchmarks.recording import record
from sparse_ortho.plan.config import read_yaml
from sparse_ortho.plan.forecast import Forecast, breaks, forecast
from sparse_ortho.plan.measured import ran
from sparse_ortho.plan.workflow import Plan

PLANNING = """
import resource, time
import yaml
from sparse_ortho.plan.workflow import Plan
plan = Plan(yaml.safe_load(open("config.yaml")))
plan.targets(), plan.all_records(), [plan.job("train", name) for name in plan.bundles("synthetic", "train")]
print(time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def told(folder: Path, bundle: int, workers: int, cells: int | None = None) -> Forecast:
    before = Path.cwd()
    os.chdir(folder)  # what a run leaves is read from where it ran
    try:
        return forecast(Plan(read_yaml(folder / "config.yaml") | {"bundle": bundle}, folder), workers, cells)
    finally:
        os.chdir(before)


def busy(folder: Path) -> float:
    """Seconds of all jobs of a finished run, with the start of their processes."""
    return sum(job.seconds for job in ran(folder / "results"))


def planning(cells: int) -> tuple[float, float]:
    """CPU seconds and MB of a process that plans so many cells."""
    with tempfile.TemporaryDirectory() as temporary:
        checkout(Path(temporary), cells)
        done = subprocess.run(
            [sys.executable, "-c", PLANNING], cwd=temporary, capture_output=True, text=True, check=True
        )
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--bundle", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        for folder in (one, two):
            study(Path(folder), arguments.cells, arguments.epochs)
        first = run(Path(one), 1, arguments.bundle)
        alone, here = (told(Path(one), arguments.bundle, workers) for workers in (1, 2))
        there = told(Path(one), arguments.bundle, 64, 100_000)
        second = run(Path(two), 2, arguments.bundle)
        slower = busy(Path(two)) / busy(Path(one))
    seconds, memory = planning(4000)
    record(
        "scale",
        {
            "cells, one seed each": arguments.cells,
            "one core, forecast (s)": round(alone.span, 1),
            "one core, measured (s)": round(first.wall, 1),
            "two cores, forecast (s)": round(here.span, 1),
            "two cores, measured (s)": round(second.wall, 1),
            "forecast / measured": round(here.span / second.wall, 2),
            "seconds of a job on two cores / on one": round(slower, 2),
            "forecast / measured at the same pace": round(here.span * slower / second.wall, 2),
            "load of the machine": round(os.getloadavg()[1], 1),
            "planning 4,000 cells (CPU s)": round(seconds, 2),
            "planning 4,000 cells (MB)": round(memory),
            "100,000 such cells on 64 workers (h)": round(there.span / 3600, 2),
            "of them, jobs": round(there.jobs),
            "of them, files and folders": round(there.files),
            "of them, GB": round(there.bytes / 1e9, 1),
            "of them, memory of the DAG (GB)": round(there.memory / 1e9, 2),
            "breaks first": breaks(there)[0],
        },
    )


if __name__ == "__main__":
    main()
