"""What goes wrong on clusters, done to the tiny study; its tables end up the same as where nothing went wrong.

The long matrix: some ten minutes. `make ci-long` runs it (SPARSE_ORTHO_SLURM_LONG=1) after starting a Slurm.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Checkout, copy_sources
from tests.slurm.conftest import OnSlurm, cluster

pytestmark = pytest.mark.skipif("SPARSE_ORTHO_SLURM_LONG" not in os.environ, reason="the long matrix: make ci-long")
NODE = socket.gethostname().partition(".")[0]
EPOCHS = 400  # of the tiny study here: eight seeds take a minute or two, so that faults meet a job at work


@pytest.fixture
def slow(tmp_path: Path) -> OnSlurm:
    return lengthened(OnSlurm(copied(tmp_path / "cluster")))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = lengthened(Checkout(copied(tmp_path_factory.mktemp("local") / "checkout")))
    made.snakemake()
    return made


def copied(folder: Path) -> Path:
    folder.mkdir()
    return copy_sources(folder).folder


def lengthened(checkout: Checkout) -> Checkout:
    checkout.edit("studies/tiny/study.yaml", "epochs: 2", f"epochs: {EPOCHS}")
    checkout.edit("config.yaml", "checkpoint: 0", "checkpoint: 2")
    return checkout


class Running:
    """A run in the background, until its trainings are at work in Slurm."""

    def __init__(self, checkout: Checkout, *words: str):
        self.log = checkout.folder / "run.log"
        with self.log.open("w") as log:
            command = checkout.command(*words)
            self.process = subprocess.Popen(
                command, cwd=checkout.folder, env=checkout.env(), stdout=log, stderr=subprocess.STDOUT
            )

    def until(self, holds: Callable[[], object], seconds: int = 240) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.5)

    def finished(self, seconds: int = 600) -> str:
        assert self.process.wait(timeout=seconds) == 0, self.log.read_text()
        return self.log.read_text()


def jobs(state: str = "RUNNING") -> dict[str, str]:
    """Slurm's number of every job in a state, and the rule that it is for."""
    told = subprocess.run(
        ["squeue", "--noheader", "--states", state, "--format", "%i %k"], capture_output=True, text=True, check=True
    )
    return {number: comment for number, _, comment in (line.partition(" ") for line in told.stdout.splitlines())}


def training() -> list[str]:
    return [number for number, comment in jobs().items() if "train" in comment]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    subprocess.run(["scontrol", "update", f"NodeName={NODE}", "State=RESUME"], capture_output=True)
    subprocess.run(["scancel", "--user", "root"], capture_output=True)


def test_a_job_that_is_cancelled_is_tried_again_and_goes_on(slow: OnSlurm, local: Checkout) -> None:
    run = Running(slow)
    run.until(training)
    time.sleep(15)
    subprocess.run(["scancel", *training()], check=True)
    run.finished()
    assert slow.contents() == local.contents()


def test_a_job_that_passes_its_time_limit_goes_on_with_a_longer_one(slow: OnSlurm, local: Checkout) -> None:
    slow.edit("rules/train.smk", 'PLAN.minutes("train", wc.bundle) * attempt', "1 if attempt == 1 else 30")
    slow.edit("studies/tiny/study.yaml", f"epochs: {EPOCHS}", f"epochs: {EPOCHS * 3}")
    longer = Checkout(copied(slow.folder.parent / "longer"))
    lengthened(longer)
    longer.edit("studies/tiny/study.yaml", f"epochs: {EPOCHS}", f"epochs: {EPOCHS * 3}")
    longer.snakemake()
    run = Running(slow)
    assert "fail" in run.finished(1200).lower()  # the first attempt, of which Snakemake tells
    assert slow.contents() == longer.contents()


def test_a_node_that_is_drained_and_resumed_loses_nothing(slow: OnSlurm, local: Checkout) -> None:
    run = Running(slow)
    run.until(jobs)
    subprocess.run(["scontrol", "update", f"NodeName={NODE}", "State=DRAIN", "Reason=test"], check=True)
    run.until(lambda: not jobs())  # what runs may end; nothing new starts
    run.until(lambda: jobs("PENDING"))
    subprocess.run(["scontrol", "update", f"NodeName={NODE}", "State=RESUME"], check=True)
    run.finished()
    assert slow.contents() == local.contents()


def test_a_controller_that_restarts_in_the_middle_is_waited_for(slow: OnSlurm, local: Checkout) -> None:
    run = Running(slow)
    run.until(training)
    cluster("restart-controller")
    run.finished()
    assert slow.contents() == local.contents()
