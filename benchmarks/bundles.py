"""What the pipeline costs beside the trainings: many short cells through Snakemake, from nothing to their table.

    .venv/bin/python -m benchmarks.bundles [--cells 100] [--cores 2] [--epochs 12] [--bundle 16]

    overhead     = cores * wall / sum of the seconds of the seeds - 1        bound: 10 % for 1,000 cells of a second
    CPU overhead = CPU seconds of all processes / (cells * CPU seconds of a seed) - 1

The study is made for the purpose: one table, small networks on the embedded digits, one seed each. Both hold
everything, also what comes once: the data set, masks, initialisations, the table and the report. The first counts idle
cores but needs a machine of its own. The second is the same on a busy one; a seed costs in it what it costs in a
process that is warm, so imports count as overhead.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.dry_run import checkout
from benchmarks.recording import record

TOLD = re.compile(r"^train \d+/\d+ of .* \(([\d.]+) s\)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    wall: float
    seeds: list[float]  # seconds of each
    cpu: float  # seconds of all processes

    def overhead(self, cores: int) -> float:
        return cores * self.wall / sum(self.seeds) - 1


SEEDS = """
import sys, time
from pathlib import Path
from sparse_ortho.artifacts import read_json
from sparse_ortho.plan import job as jobs
from sparse_ortho.stages.bundle import Context
from sparse_ortho.stages.train import Training
from sparse_ortho.store import Store
text = read_json(sorted(Path("results/provenance/train").glob("*.json"))[0])["job"]
job = jobs.load(text)
inits = [str(path) for path in Path("results/inits").glob("*.safetensors")]
[data] = map(str, Path("results/data").glob("*.safetensors"))
training = Training(job, Context(Store("results/measured"), lambda line: None), data, inits)
places = [(task, seed) for task in job.cells for seed in task.seeds][: int(sys.argv[1]) + 1]
for number, (task, seed) in enumerate(places):
    training.make(task, seed, Path("results/measured/scratch"))
    if number == 0:
        started = time.process_time()
print((time.process_time() - started) / (len(places) - 1))
"""


def cpu_of_a_seed(folder: Path, sample: int = 10) -> float:
    """CPU seconds that a seed of the finished study takes in a warm process, over some of them."""
    words = [sys.executable, "-c", SEEDS, str(sample)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return float(subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True, env=env).stdout)


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def study(folder: Path, cells: int, epochs: int) -> None:
    """The sources, and one study of so many cells that differ in density."""
    checkout(folder, 0)
    shutil.rmtree(folder / "studies" / "synthetic")
    place = folder / "studies" / "synthetic"
    place.mkdir()
    (place / "study.yaml").write_text(
        "title: Synthetic\npaper: none\nscales:\n  big:\n    seeds: [0]\n    cell:\n"
        f"      {{data: digits, model: {{name: mlp, width: 64}}, train: {{epochs: {epochs}}}}}\n"
    )
    densities = [round(0.05 + 0.9 * number / cells, 6) for number in range(cells)]
    (place / "table.yaml").write_text(
        "kind: table\ntitle: t\ncaption: c\ncategory: x\nrows: [density]\ncolumns: [init]\n"
        f"scales:\n  big:\n    cells:\n      - {{mask: erk, init: orthogonal, density: {densities}}}\n"
    )


def run(folder: Path, cores: int, bundle: int) -> Run:
    """One run of everything in the folder."""
    snakemake = [str(Path(sys.executable).parent / "snakemake"), "--cores", str(cores), "--config", f"bundle={bundle}"]
    started, before = time.perf_counter(), cpu_of_children()
    done = subprocess.run(
        snakemake, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    wall = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    seeds = [float(seconds) for seconds in TOLD.findall(done.stderr + done.stdout)]
    return Run(wall, seeds, cpu_of_children() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--bundle", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        study(Path(temporary), arguments.cells, arguments.epochs)
        ran = run(Path(temporary), arguments.cores, arguments.bundle)
        seed = cpu_of_a_seed(Path(temporary))
    record(
        "bundles",
        {
            "cells": arguments.cells,
            "cores used": arguments.cores,
            "cells in a bundle": arguments.bundle,
            "seeds trained": len(ran.seeds),
            "seconds of a seed, mean": round(sum(ran.seeds) / len(ran.seeds), 2),
            "wall (s)": round(ran.wall, 1),
            "overhead, bound 0.1 at 1,000 cells": round(ran.overhead(arguments.cores), 3),
            "overhead of a cell (core seconds)": round(
                (arguments.cores * ran.wall - sum(ran.seeds)) / len(ran.seeds), 2
            ),
            "CPU seconds of a seed in a warm process": round(seed, 3),
            "CPU seconds of everything": round(ran.cpu, 1),
            "CPU overhead": round(ran.cpu / (seed * len(ran.seeds)) - 1, 3),
            "CPU overhead of a cell (s)": round(ran.cpu / len(ran.seeds) - seed, 3),
            "load of the machine": round(os.getloadavg()[1], 1),
        },
    )


if __name__ == "__main__":
    main()
