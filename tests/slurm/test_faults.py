"""What goes wrong on clusters, done to the tiny study; its tables end up the same as where nothing went wrong.

The long matrix: some ten minutes. `make ci-long` runs it (SPARSE_ORTHO_SLURM_LONG=1) after starting a Slurm.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Checkout, copy_sources
from tests.slurm.conftest import NODES, OnSlurm, cluster

pytestmark = pytest.mark.skipif("SPARSE_ORTHO_SLURM_LONG" not in os.environ, reason="the long matrix: make ci-long")
EPOCHS = 8000  # of the one seed here: half a minute or more, so that faults meet a job at work


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


def lengthened(checkout: Any) -> Any:
    """One cell with one seed, and a checkpoint every second."""
    checkout.edit("config.yaml", "checkpoint: 0", "checkpoint: 1")
    checkout.edit("studies/tiny/study.yaml", "epochs: 2", f"epochs: {EPOCHS}")
    checkout.edit("studies/tiny/study.yaml", "seeds: [0, 1]", "seeds: [0]")
    for exhibit in ("accuracy", "loss"):
        cells = ("[uniform, erk], density: 0.3, init: [kaiming, eoi]", "[erk], density: 0.3, init: [eoi]")
        checkout.edit(f"studies/tiny/{exhibit}.yaml", *cells)
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


def checkpoints(checkout: Checkout) -> list[Path]:
    return [path for path in (checkout.results / "store" / "checkpoints").glob("train/*/*") if path.is_file()]


def trained(checkout: Checkout) -> list[str]:
    """What became of the seed, one after the other, before the job served it to its own last attempt."""
    return [e["event"] for e in checkout.events() if e["stage"] == "train" and e["event"] != "served"]


def limit(number: str) -> int:
    """The minutes that a job may take."""
    told = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True, check=True).stdout
    days, hours, minutes = re.search(r"TimeLimit=(?:(\d+)-)?(\d+):(\d+):00", told).groups("0")  # type: ignore[union-attr]
    return 24 * 60 * int(days) + 60 * int(hours) + int(minutes)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    subprocess.run(["scontrol", "update", f"NodeName={','.join(NODES)}", "State=RESUME"], capture_output=True)
    subprocess.run(["scancel", "--user", "root"], capture_output=True)


def test_a_job_that_is_cancelled_is_tried_again_and_goes_on(slow: OnSlurm, local: Checkout) -> None:
    run = Running(slow)
    run.until(lambda: training() and checkpoints(slow))
    subprocess.run(["scancel", *training()], check=True)
    run.finished()
    assert trained(slow) == ["started", "resumed", "made"]
    assert slow.contents() == local.contents()


def test_a_job_that_passes_its_time_limit_goes_on_with_a_longer_one(slow: OnSlurm, local: Checkout) -> None:
    """Its limit is brought forward while it trains; Slurm looks at limits every half minute."""
    run = Running(slow)
    run.until(lambda: training() and checkpoints(slow))
    [first] = training()
    asked = limit(first)
    subprocess.run(["scontrol", "update", f"JobId={first}", "EndTime=now+1"], check=True)
    run.until(lambda: first in jobs("TIMEOUT"))
    run.until(training)
    [second] = training()
    assert limit(second) == 2 * asked > 0
    run.finished()
    assert trained(slow) == ["started", "resumed", "made"]
    assert slow.contents() == local.contents()


def test_nodes_that_are_drained_and_resumed_lose_nothing(slow: OnSlurm, local: Checkout) -> None:
    run = Running(slow)
    run.until(jobs)
    subprocess.run(["scontrol", "update", f"NodeName={','.join(NODES)}", "State=DRAIN", "Reason=test"], check=True)
    run.until(lambda: not jobs())  # what runs may end; nothing new starts
    run.until(lambda: jobs("PENDING"))
    subprocess.run(["scontrol", "update", f"NodeName={','.join(NODES)}", "State=RESUME"], check=True)
    run.finished()
    assert slow.contents() == local.contents()


def test_a_controller_that_restarts_in_the_middle_is_waited_for(slow: OnSlurm, local: Checkout) -> None:
    run = Running(slow)
    run.until(lambda: training() and checkpoints(slow))
    cluster("restart-controller")
    run.finished()
    assert trained(slow) == ["started", "made"]  # the node went on meanwhile
    assert slow.contents() == local.contents()
