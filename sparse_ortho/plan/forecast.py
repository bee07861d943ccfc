"""How long a configuration takes here or elsewhere, what it leaves on the disk, and what breaks first.

From the stage times of a run that is finished in this folder. The makespans of the stages are added up, an upper
bound: jobs of different stages overlap in truth. With `cells`, the configuration is thought multiplied until it trains
so many; `workers` are as many machines or cores as the one that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparse_ortho.errors import UserError
from sparse_ortho.plan import measured, paths
from sparse_ortho.plan.layout import STAGES
from sparse_ortho.plan.makespan import Line, fitted, makespan
from sparse_ortho.plan.summary import duration
from sparse_ortho.plan.workflow import Plan

# Measured on two cores with Python 3.11 and Snakemake 9.27 (benchmarks/scale.py, benchmarks/dry_run.py).
PARSE = (0.5, 3e-4)  # seconds of a process until it has the plan, and of each training cell: 4,000 cells 1.5 s
JOB = 2.1e-3  # seconds of Snakemake's DAG a job: 10,000 jobs 22 s
MEMORY = (55e6, 7e3, 2.5e4)  # bytes of a planning process, of each training cell, of each job in the DAG
FILES, SHARE, RAM = 1_000_000, 0.1, 4e9  # more files, a longer parse than this part of a job, more memory: it breaks
EXHIBIT = "exhibit"


@dataclass(frozen=True)
class Stage:
    name: str
    jobs: float
    seeds: float
    work: float  # seconds of one worker
    longest: float
    span: float  # seconds on all workers


@dataclass(frozen=True)
class Forecast:
    stages: tuple[Stage, ...]
    cells: float  # that are trained
    workers: int
    files: float
    bytes: float

    @property
    def jobs(self) -> float:
        return sum(stage.jobs for stage in self.stages)

    @property
    def span(self) -> float:
        return sum(stage.span for stage in self.stages) + self.dag

    @property
    def parse(self) -> float:
        return PARSE[0] + PARSE[1] * self.cells

    @property
    def dag(self) -> float:
        return self.parse + JOB * self.jobs

    @property
    def memory(self) -> float:
        return MEMORY[0] + MEMORY[1] * self.cells + MEMORY[2] * self.jobs


def forecast(plan: Plan, workers: int, cells: int | None = None, results: Path = Path(paths.RESULTS)) -> Forecast:
    """Of the configured studies, every seed of them made anew."""
    for name, value in (("workers", workers), ("cells", cells)):
        if value is not None and value < 1:
            raise UserError(f"forecast: {name}", "must be at least 1", found=value)
    done = list(measured.ran(results))
    if not any(job.stage == "train" for job in done):
        raise UserError("forecast", f"{results} holds no finished training to measure by; run a small study first")
    trained = len({node.id for study in plan.config.studies for node in plan.study(study).nodes("train")})
    factor = cells / trained if cells and trained else 1.0
    stages = [_stage(plan, stage, done, factor, workers) for stage in STAGES]
    took = [job.seconds for job in done if job.stage == EXHIBIT]
    shown = sum(len(plan.study(study).exhibits) for study in plan.config.studies)
    stages.append(_spread(EXHIBIT, [sum(took) / len(took) if took else 0.0] * shown, 0, factor, workers))
    kept = [(stage.seeds, each) for stage in stages if (each := measured.kept(results / "store", stage.name))]
    beside, seeds = measured.written(results), sum(job.seeds for job in done)
    files = sum(count * each.files for count, each in kept)
    size = sum(count * each.bytes for count, each in kept)
    files += beside.files / len(done) * sum(stage.jobs for stage in stages)
    size += beside.bytes / max(seeds, 1) * sum(stage.seeds for stage in stages)
    return Forecast(tuple(stages), trained * factor, workers, files, size)


def _stage(plan: Plan, stage: str, done: Sequence[measured.Ran], factor: float, workers: int) -> Stage:
    """The jobs of a stage by the line through those that were measured; if there are none, at their nominal cost."""
    bundles = [(study, bundle) for study in plan.config.studies for bundle in plan.bundles(study, stage).values()]
    nominal = {bundle.name: plan.seconds(bundle) for _, bundle in bundles}
    known = [(nominal[job.name], job.seconds) for job in done if job.stage == stage and job.name in nominal]
    line = fitted(known) if known else Line(0.0, 1.0)
    seeds = sum(
        len(b.seeds_of(plan.study(s).seeds[node.id])) for s, b in bundles for node in b.nodes if stage != "data"
    )
    return _spread(stage, [line.seconds(cost) for cost in nominal.values()], seeds, factor, workers)


def _spread(name: str, seconds: Sequence[float], seeds: int, factor: float, workers: int) -> Stage:
    """A stage of `factor` times these jobs."""
    copies = max(1, round(factor)) if seconds else 1
    span = makespan(list(seconds) * copies, workers) * factor / copies if factor >= 1 else makespan(seconds, workers)
    return Stage(name, len(seconds) * factor, seeds * factor, sum(seconds) * factor, max(seconds, default=0.0), span)


def breaks(told: Forecast) -> list[str]:
    """What becomes a limit at this size, the worst first."""
    train = next(stage for stage in told.stages if stage.name == "train")
    mean = train.work / max(train.jobs, 1)
    limits = [
        (told.files / FILES, f"{told.files:,.0f} files and folders: network file systems suffer above {FILES:,}"),
        (told.memory / RAM, f"{told.memory / 1e9:.1f} GB of memory for the plan and the DAG"),
        (
            told.parse / mean / SHARE if mean else 0.0,
            f"{told.parse:.0f} s of parsing in every job of a cluster, whose training jobs last {duration(mean)}",
        ),
        (told.dag / max(told.span, 1e-9) / SHARE, f"{duration(told.dag)} to plan before the first job begins"),
    ]
    return [text for share, text in sorted(limits, reverse=True) if share > 1]


def lines(told: Forecast) -> list[str]:
    """The forecast as a table in plain text."""
    rows = [f"{'stage':9}{'jobs':>10}{'seeds':>11}{'work':>12}{'longest':>11}{'makespan':>12}"]
    for stage in told.stages:
        if stage.jobs:
            times = (duration(stage.work), duration(stage.longest), duration(stage.span))
            counts = f"{stage.name:9}{math.ceil(stage.jobs):10,}{math.ceil(stage.seeds):11,}"
            rows.append(f"{counts}{times[0]:>12}{times[1]:>11}{times[2]:>12}")
    rows.append(
        f"{told.cells:,.0f} trained cells on {told.workers} workers: {duration(told.span)}, of which"
        f" {duration(told.dag)} planning; {told.bytes / 1e9:.2f} GB in {told.files:,.0f} files and folders"
    )
    return rows + [f"a limit: {text}" for text in breaks(told)]
