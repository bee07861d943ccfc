"""What all tests share: hypothesis settings, the checkout, and copies of it to run Snakemake in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SNAKEMAKE = Path(sys.executable).parent / "snakemake"

# Before torch is imported: as many processes as cores run tests, and threads beside them only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("law", deadline=None, derandomize=True)
settings.load_profile("law")

STUDY = """
title: Tiny
paper: A study for tests.
scales:
  tiny:
    seeds: [0, 1]
    cell:
      data: digits
      model: {name: mlp, depth: 3, width: 16}
      train: {epochs: 2, batch_size: 128, lr: 0.05}
"""
TABLE = """
kind: table
title: Accuracy
caption: Accuracy of a tiny network.
category: Accuracy
rows: [mask]
columns: [init]
scales:
  tiny:
    cells:
      - {mask: [uniform, erk], density: 0.3, init: [kaiming, eoi]}
"""
CURVES = """
kind: curves
title: Loss
caption: Loss of a tiny network.
category: Training
panels: [mask]
hue: init
scales:
  tiny:
    cells:
      - {mask: [uniform, erk], density: 0.3, init: [kaiming, eoi]}
"""


class Checkout:
    """A copy of the tracked sources with one tiny study, in which tests edit files and run the real Snakemake."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.results = folder / "results"

    def snakemake(
        self, *words: str, ok: bool = True, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it and return what it printed; `ok=False` allows any exit status."""
        done = subprocess.run(
            self.command(*words),
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            env=self.env(**env),
            timeout=600,
        )
        if ok:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def command(self, *words: str) -> list[str]:
        return [str(SNAKEMAKE), *words]

    def env(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SPARSE_ORTHO")}
        return kept | {"PYTHONDONTWRITEBYTECODE": "1"} | more

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} does not hold {old!r}"
        path.write_text(text.replace(old, new))

    def events(self) -> list[dict[str, Any]]:
        """The store's own log, read and emptied: what was trained, what was served since the last time."""
        log = self.results / "store" / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def made(self, stage: str) -> list[str]:
        """`cell seed` of everything that a stage made since the last time asked."""
        return sorted(f"{e['cell']} {e['seed']}" for e in self.events() if e["event"] == "made" and e["stage"] == stage)

    def contents(self, *kinds: str) -> dict[str, bytes]:
        """Every artifact under results/, by path."""
        kinds = kinds or ("data", "masks", "inits", "records", "curves", "tables", "figures", "report.html")
        files = [p for kind in kinds for p in [self.results / kind, *sorted((self.results / kind).rglob("*"))]]
        return {str(path.relative_to(self.results)): path.read_bytes() for path in files if path.is_file()}


def copy_sources(folder: Path) -> Checkout:
    """The sources of this checkout, without results and environment, with the tiny study in place of the others."""
    skipped = {
        ".git",
        ".venv",
        ".venv-slurm",
        ".uv",
        "results",
        ".snakemake",
        "tests",
        "benchmarks",
        "__pycache__",
        ".ruff_cache",
        ".hypothesis",
    }
    for path in ROOT.iterdir():
        if path.name in skipped:
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(path, folder / path.name)
    shutil.rmtree(folder / "studies")
    tiny = folder / "studies" / "tiny"
    tiny.mkdir(parents=True)
    for name, text in (("study", STUDY), ("accuracy", TABLE), ("loss", CURVES)):
        (tiny / f"{name}.yaml").write_text(text)
    (tiny / "published.csv").write_text(
        "study,exhibit,dataset,model,method,density,metric,mean,se,n,source,confidence\n"
    )
    (folder / "config.yaml").write_text("studies: [tiny]\nscale: tiny\ndevice: cpu\nbundle: 2\ncheckpoint: 0\n")
    return Checkout(folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Fresh sources, nothing built."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    return copy_sources(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The tiny study built once; tests copy it (`built`) and never change it."""
    folder = tmp_path_factory.mktemp("finished") / "checkout"
    folder.mkdir()
    made = copy_sources(folder)
    made.snakemake()
    return made


@pytest.fixture
def built(finished: Checkout, tmp_path: Path) -> Iterator[Checkout]:
    """A copy of the finished study, times and metadata included, to change at will."""
    folder = tmp_path / "checkout"
    shutil.copytree(finished.folder, folder)
    copied = Checkout(folder)
    copied.events()
    yield copied
