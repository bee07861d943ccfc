"""What a cluster makes is what a laptop makes, byte for byte."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT, Checkout
from tests.slurm.conftest import OnSlurm

SHOWN = ("tables", "figures")


@pytest.mark.skipif("SPARSE_ORTHO_SLURM_LONG" not in os.environ, reason="the long matrix: make ci-long")
def test_the_tiny_study_on_slurm_equals_the_local_one_and_is_done_once(on_slurm: OnSlurm, finished: Checkout) -> None:
    on_slurm.snakemake()
    assert on_slurm.contents() == finished.contents()
    assert len(on_slurm.made("train")) == 8
    assert "Nothing to be done" in on_slurm.snakemake().stdout + on_slurm.snakemake().stderr


def test_the_quick_study_on_slurm_equals_the_local_one(tmp_path: Path) -> None:
    """Against the results of the checkout, if its `snakemake` has been called, else against a local run."""
    shown = whole(tmp_path / "cluster", OnSlurm)
    shown.snakemake("eoi")
    local = Checkout(ROOT)
    if not (local.results / "tables" / "eoi" / "quick").is_dir() or "SPARSE_ORTHO_SLURM_LOCAL" not in os.environ:
        local = whole(tmp_path / "local", Checkout)
        local.snakemake("eoi")
    made = compared(shown)
    assert made and made == compared(local)


def compared(checkout: Checkout) -> dict[str, bytes]:
    """Everything that the study shows, but for the one exhibit whose results are times of the machine."""
    found = checkout.contents(*SHOWN)
    return {name: found[name] for name in found if "/eoi/" in name and Path(name).stem != "timing"}


def whole(folder: Path, kind: type[Checkout]) -> Checkout:
    """The sources with their own studies."""
    skipped = (".git", ".venv", ".venv-slurm", ".uv", "results", ".snakemake", "tests", "__pycache__", ".hypothesis")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*skipped))
    return kind(folder)
