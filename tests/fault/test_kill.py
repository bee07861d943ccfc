"""Killed at any moment, the same command gives the bytes of an uninterrupted run; two runs never share a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Checkout, copy_sources


def slow(folder: Path) -> Checkout:
    """The tiny study, long enough to be caught in the middle; a checkpoint after every step."""
    folder.mkdir()
    made = copy_sources(folder)
    made.edit("studies/tiny/study.yaml", "epochs: 2", "epochs: 60")
    return made


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    made = slow(tmp_path_factory.mktemp("uninterrupted") / "checkout")
    made.snakemake()
    return made.contents()


def start(checkout: Checkout) -> subprocess.Popen[str]:
    return subprocess.Popen(
        checkout.command(),
        cwd=checkout.folder,
        env=checkout.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a background shell ignores it, and so would we
    )


def events(checkout: Checkout, event: str) -> list[dict[str, Any]]:
    """What the trainings logged of one kind."""
    log = checkout.results / "store" / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [e for e in map(json.loads, lines) if e["stage"] == "train" and e["event"] == event]


def happenings(checkout: Checkout, event: str) -> list[int]:
    """Process ids of the trainings that logged `event`."""
    return [e["pid"] for e in events(checkout, event)]


def saved(checkout: Checkout) -> list[int]:
    """Process ids of the trainings that have a whole checkpoint."""
    found = (checkout.results / "store" / "checkpoints" / "train").glob("*/[!.]*")
    keys = {path.parent.name for path in found}
    return [e["pid"] for e in events(checkout, "started") if e["key"] in keys]


def wait_for(condition: Callable[[], list[int]], process: subprocess.Popen[str]) -> int:
    """The process id that a condition yields, polled; fails when the run ends first."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if pids := condition():
            return pids[-1]
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    raise AssertionError("never happened")


MOMENTS: dict[str, Callable[[Checkout], list[int]]] = {
    "as it starts": lambda c: happenings(c, "started"),
    "after a checkpoint": saved,
    "after its first seed": lambda c: happenings(c, "made") and happenings(c, "started")[-1:],
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_training_resumes_to_the_same_bytes(
    moment: str, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    checkout = slow(tmp_path / "checkout")
    process = start(checkout)
    os.kill(wait_for(lambda: MOMENTS[moment](checkout), process), signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode != 0
    checkout.snakemake()
    assert checkout.contents() == uninterrupted
    if moment == "after a checkpoint":
        assert happenings(checkout, "resumed"), "the second run goes on from the checkpoint"


def test_a_killed_snakemake_leaves_nothing_in_the_way(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    """Its trainings live on; the same command waits for them, takes their results and ends with the same bytes."""
    checkout = slow(tmp_path / "checkout")
    process = start(checkout)
    wait_for(lambda: saved(checkout), process)
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()  # its trainings hold the other end
    checkout.snakemake()
    assert checkout.contents() == uninterrupted
    assert len(happenings(checkout, "made")) == 8, "no seed was trained twice"


def test_ctrl_c_in_the_middle_and_again(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    checkout = slow(tmp_path / "checkout")
    process = start(checkout)
    wait_for(lambda: saved(checkout), process)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=300)[0]
    assert process.returncode != 0
    assert "Traceback" not in told
    checkout.snakemake()
    assert checkout.contents() == uninterrupted


def test_a_second_run_beside_a_live_one_is_refused_in_one_sentence(tmp_path: Path) -> None:
    checkout = slow(tmp_path / "checkout")
    process = start(checkout)
    wait_for(lambda: happenings(checkout, "started"), process)
    second = checkout.snakemake("results/report.html", ok=False)
    asked = checkout.snakemake("partial")
    process.communicate(timeout=300)
    assert process.returncode == 0, "the first run is not disturbed"
    assert second.returncode != 0
    assert "Traceback" not in second.stderr
    assert "tiny/accuracy: " in asked.stderr, "a question is answered beside a live run"
    assert [line for line in second.stderr.splitlines() if line.startswith("error:")] == [
        "error: another snakemake is at work in this folder; wait for it, or use another --directory"
    ]
