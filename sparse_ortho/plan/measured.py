"""What the jobs of finished runs took, from what they left: provenance, benchmarks, the store. Reads no artifact."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparse_ortho.plan import job as jobs
from sparse_ortho.plan import paths

METADATA = Path(".snakemake", "metadata")  # a file of Snakemake's for each artifact


@dataclass(frozen=True)
class Ran:
    """A job that made all its seeds: what it is, how many seeds, and its seconds from start to end of the process."""

    stage: str
    name: str
    seeds: int
    seconds: float


@dataclass(frozen=True)
class Kept:
    """Files and bytes, of the seeds of a stage in the store or of the jobs of a stage under results/."""

    files: float
    bytes: float


def ran(results: Path = Path(paths.RESULTS)) -> Iterator[Ran]:
    """Jobs of which nothing was served or resumed; those that were say nothing of what the work takes."""
    for path in sorted((results / "provenance").glob("*/*.json")):
        about = json.loads(path.read_text())
        job, events = jobs.load(about["job"]), about["store"]
        seeds = sum(len(task.seeds) for task in job.cells)
        if job.stage in paths.BUNDLED and (job.stage == "data" or events.get("started", 0) >= seeds):
            yield Ran(job.stage, job.bundle, seeds, max(about["seconds"], wall(results, job.stage, job.bundle)))
        elif job.stage in ("exhibit", "report"):
            yield Ran(job.stage, job.bundle, 0, about["seconds"])


def wall(results: Path, stage: str, name: str) -> float:
    """Seconds by Snakemake's own clock, with the start of the process; 0 if it wrote none."""
    path = results / "benchmarks" / stage / f"{name}.tsv"
    if not path.exists():
        return 0.0
    with open(path, newline="") as lines:
        return max((float(row["s"]) for row in csv.DictReader(lines, delimiter="\t")), default=0.0)


def kept(store: Path, stage: str) -> Kept | None:
    """Of one seed in the store, folders counted as files: an inode is an inode."""
    sizes = [[file.stat().st_size for file in entry.iterdir()] for entry in store.glob(f"{stage}/??/*")]
    if not sizes:
        return None
    return Kept(sum(1 + len(each) for each in sizes) / len(sizes), sum(map(sum, sizes)) / len(sizes))


def written(results: Path) -> Kept:
    """In all, everything else under results/ and what Snakemake keeps about it."""
    files = [p for p in results.rglob("*") if p.is_file() and p.relative_to(results).parts[0] != "store"]
    found = [*files, *(p for p in METADATA.rglob("*") if p.is_file())]
    return Kept(len(found), sum(p.stat().st_size for p in found))
