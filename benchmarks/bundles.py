"""What the pipeline costs beside the trainings: many short cells through Snakemake, from nothing to their table.

    .venv/bin/python -m benchmarks.bundles [--cells 100] [--cores 2] [--epochs 12] [--bundle 16]

    overhead = cores * wall / sum of the seconds of the seeds - 1        bound: 10 % for 1,000 cells of a second

The study is made for the purpose: one table, small networks on the embedded digits, one seed each. Wall time holds
everything, also what comes once: the data set, masks, initialisations, the table and the report.
"""

from __future__ import annotations

import argparse
import os
import re
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

    def overhead(self, cores: int) -> float:
        return cores * self.wall / sum(self.seeds) - 1


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
    started = time.perf_counter()
    done = subprocess.run(
        snakemake, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    wall = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return Run(wall, [float(seconds) for seconds in TOLD.findall(done.stderr + done.stdout)])


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
            "load of the machine": round(os.getloadavg()[1], 1),
        },
    )


if __name__ == "__main__":
    main()
