"""How long Snakemake takes to plan a study of 10,000 training cells: a dry run, and the parse alone.

    .venv/bin/python -m benchmarks.dry_run [--cells 10000] [--bundle 8]

Bound: under 30 s for 10,000 cells. The study is made for the purpose: tables of 400 cells, a hundred densities by two
masks by two initialisations, each at a learning rate of its own. Nothing is trained.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.recording import record

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("sparse_ortho", "workflow_scripts", "rules", "profiles", "schemas", "envs", "Snakefile")


def checkout(folder: Path, cells: int) -> None:
    """The sources with one synthetic study in place of the others."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    study = folder / "studies" / "synthetic"
    study.mkdir(parents=True)
    (study / "study.yaml").write_text(
        "title: Synthetic\npaper: none\nscales:\n  big:\n    seeds: [0, 1, 2]\n    cell:\n"
        "      data: digits\n      model: {name: mlp, width: 64}\n"
    )
    densities = [round(0.05 + i / 200, 3) for i in range(100)]
    for table in range(-(-cells // 400)):  # 400 cells each
        (study / f"table{table}.yaml").write_text(
            "kind: table\ntitle: t\ncaption: c\ncategory: x\nrows: [density, mask]\ncolumns: [init]\n"
            "scales:\n  big:\n    cells:\n      - {mask: [uniform, erk], init: [kaiming, orthogonal], "
            f"density: {densities}, train.lr: {(table + 1) / 1e3}}}\n"
        )
    (folder / "config.yaml").write_text("studies: [synthetic]\nscale: big\ndevice: cpu\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--bundle", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checkout(folder, arguments.cells)
        snakemake = [str(Path(sys.executable).parent / "snakemake"), "--config", f"bundle={arguments.bundle}"]
        started = time.perf_counter()
        done = subprocess.run([*snakemake, "--dry-run"], cwd=folder, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(done.stderr[-2000:])
        jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE)}
        started = time.perf_counter()
        subprocess.run([*snakemake, "--list-rules"], cwd=folder, capture_output=True, check=True)
        parse = time.perf_counter() - started
    record(
        "dry_run",
        {
            "training cells": 400 * -(-arguments.cells // 400),
            "cells in a bundle": arguments.bundle,
            "jobs": jobs.get("total"),
            "training jobs": jobs.get("train"),
            "dry run (s), bound 30": round(seconds, 1),
            "parse alone (s)": round(parse, 1),
        },
    )


if __name__ == "__main__":
    main()
