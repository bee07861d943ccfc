"""A checkout whose jobs go through a real Slurm. Skipped unless `make slurm-test` (or .ci/run) has started one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, Checkout, copy_sources

PYTHON = ROOT / ".venv-slurm" / "bin" / "python"
CLUSTER = ROOT / "tests" / "slurm" / "cluster.sh"
NODES = ("node1", "node2")  # of cluster.sh
# This Slurm has neither accounts nor their database; a person waits 40 s for the first look at a job, a test cannot.
HERE = (
    ["--slurm-no-account", "--slurm-status-command", "squeue"]
    + ["--slurm-init-seconds-before-status-checks", "2"]
    + ["--latency-wait", "5"]
)


class OnSlurm(Checkout):
    """The same sources and commands, and the profile of a cluster."""

    def command(self, *words: str) -> list[str]:
        return [str(PYTHON), "-m", "snakemake", "--workflow-profile", "profiles/slurm", *HERE, *words]


def cluster(word: str) -> str:
    return subprocess.run([str(CLUSTER), word], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session", autouse=True)
def slurm() -> None:
    if not os.environ.get("SPARSE_ORTHO_SLURM_UP"):
        pytest.skip("no Slurm was started for tests: make slurm-test does")


@pytest.fixture
def on_slurm(tmp_path: Path) -> OnSlurm:
    """Fresh sources with the tiny study, nothing built."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    return OnSlurm(copy_sources(folder).folder)
