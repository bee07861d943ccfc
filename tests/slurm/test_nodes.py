"""Two node daemons that share a store: jobs spread over both, and no seed is trained on both."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Checkout
from tests.machines import both, events, tiny_job
from tests.slurm.conftest import NODES, OnSlurm


def test_two_nodes_that_are_given_the_same_job_train_each_seed_once(built: Checkout, tmp_path: Path) -> None:
    """Claims instead of locks, as on the file system of a network."""
    _, words = tiny_job(built)
    store = tmp_path / "shared"
    start = {node: ["srun", "--ntasks=1", "--cpus-per-task=1", f"--nodelist={node}"] for node in NODES}
    records = both(built, words, start, dict.fromkeys(NODES, store))
    assert records[NODES[0]] == records[NODES[1]]
    happened = events(store)
    assert len(happened) == 8
    assert all(counts == {"started": 1, "made": 1, "served": 1} for counts in happened.values()), happened


@pytest.mark.skipif("SPARSE_ORTHO_SLURM_LONG" not in os.environ, reason="the long matrix: make ci-long")
def test_cell_by_cell_on_two_nodes_is_what_bundles_are_here(on_slurm: OnSlurm, finished: Checkout) -> None:
    """Bundles change no result: records hold a job's cells in another split, tables and figures the same bytes."""
    on_slurm.snakemake("--config", "bundle=1")
    shown = ("tables", "figures")
    assert on_slurm.contents(*shown) == finished.contents(*shown)
    assert len(on_slurm.made("train")) == 8
    asked = ["squeue", "--noheader", "--states", "all", "--format", "%N"]
    used = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    assert set(used) >= set(NODES)
