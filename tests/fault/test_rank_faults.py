"""Several processes of one training, when one of them fails, is killed, or is asked to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed as dist

from sparse_ortho.errors import UserError
from sparse_ortho.stages import train
from sparse_ortho.streams import Streams
from sparse_ortho.training import rank_processes
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.rank_group import Ranks
from sparse_ortho.training.rank_processes import enter, together
from sparse_ortho.training.stopping import Stopping
from sparse_ortho.training.together import serve, train_together
from tests.law.test_ranks import CPU, Small, parts_of

HERE = Path(__file__).resolve()


def raising(ranks: Ranks, device: torch.device) -> None:
    if ranks.rank == 2:
        raise ValueError("the third step is bad\nand a second line")
    dist.all_reduce(torch.ones(3))


def dying(ranks: Ranks, device: torch.device) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("others", "size", "message"),
    [
        (raising, 3, "rank 2 failed: ValueError: the third step is bad"),
        (dying, 2, "rank 1 ended with exit status -9"),
    ],
    ids=["raises", "dies"],
)
def test_a_rank_that_fails_ends_the_run_in_one_sentence(
    tmp_path: Path, others: Callable[..., None], size: int, message: str
) -> None:
    with (
        pytest.raises(UserError, match=rf"^train\.ranks: {message}$"),
        together(size, "cpu", "gloo", tmp_path, others),
    ):
        dist.all_reduce(torch.ones(3))
    assert not list(tmp_path.iterdir()) and not dist.is_initialized()


# --- whole processes, as a scheduler sees them


class Slow(Part):
    """Steps long enough to be met in the middle, of processes that tell who they are."""

    def __init__(self, folder: Path):
        self.folder = folder

    def before_step(self, run: Any) -> None:
        (self.folder / f"pid{run.ranks.rank}").write_text(str(os.getpid()))
        time.sleep(0.02)


class Asleep:
    """What rank 1 does: nothing, so that no broken connection ends it. It tells if it wakes up."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, ranks: Ranks, device: torch.device) -> None:
        (self.folder / "pid1").write_text(str(os.getpid()))
        time.sleep(60)
        (self.folder / "awake").touch()


def waiting(folder: Path) -> None:
    with together(2, "cpu", "gloo", folder / "state", Asleep(folder)):
        (folder / "pid0").write_text(str(os.getpid()))
        time.sleep(3600)


def options_of(ranks: int = 2) -> TrainOptions:
    return TrainOptions(epochs=12, batch_size=5, ranks=ranks, lr=0.05, ema=0.5)


def program(folder: Path) -> None:
    """Rank 0, or whichever rank the environment says."""
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        enter(serve, "cpu")
    finished(folder)


def finished(folder: Path) -> tuple[torch.nn.Module, int | None]:
    """The network, and the step at which this process took over."""
    model, state = Small(norm=True), folder / "state"
    with Stopping() as stopping:
        checkpoint = Checkpointer(state, 3600, stopping)
        mine: dict[str, Any] = {"folder": state, "checkpoint": checkpoint, "parts": [Slow(folder)]}
        train_together(model, parts_of(), None, options_of(), Streams(0), CPU, **mine)
    return model, checkpoint.resumed_at


def bits(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.double().flatten() for value in model.state_dict().values()])


def launch(folder: Path, what: str = "program", **env: str) -> subprocess.Popen[str]:
    paths = [str(HERE.parent), str(HERE.parents[2])]
    code = f"import sys; sys.path[:0] = {paths}; from test_rank_faults import *; {what}(Path({str(folder)!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", code], text=True, stderr=subprocess.PIPE, env={**os.environ, **env}, process_group=0
    )


def until(met: Any, *processes: subprocess.Popen[str]) -> None:
    while not met():
        ended = [process.communicate()[1] for process in processes if process.poll() is not None]
        assert not ended, ended
        time.sleep(0.01)


def training(folder: Path, ranks: int = 2) -> list[int]:
    """The processes that train, once all of them do."""
    with contextlib.suppress(OSError, ValueError):
        return [int((folder / f"pid{rank}").read_text()) for rank in range(ranks)]
    return []


def lives(pid: int) -> bool:
    """And is not waiting for somebody to read its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def launch_all(folder: Path, ranks: int = 2) -> list[subprocess.Popen[str]]:
    """As torchrun or srun do."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(ranks)}
    return [launch(folder, RANK=str(rank), **place) for rank in range(ranks)]


def begun(folder: Path, *processes: subprocess.Popen[str]) -> list[int]:
    """Both ranks, once they are at it."""
    until(lambda: len(training(folder)) == 2, *processes)
    found = training(folder)
    for rank in (0, 1):
        (folder / f"pid{rank}").unlink()
    return found


IN_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")


@IN_PROC
def test_no_rank_outlives_rank_0(tmp_path: Path) -> None:
    killed = launch(tmp_path, "waiting")
    first, second = begun(tmp_path, killed)
    assert first == killed.pid and lives(second)
    killed.kill()
    killed.communicate()
    until(lambda: not lives(second))
    assert not (tmp_path / "awake").exists()


@pytest.mark.parametrize(("place", "ranks", "entered"), [((1, 2), 2, True), ((0, 2), 2, True)] + [((1, 2), 4, False)])
def test_a_launched_program_joins_the_others_before_it_looks_for_results(
    monkeypatch: pytest.MonkeyPatch, place: tuple[int, int], ranks: int, entered: bool
) -> None:
    """Also where all results are there: the others would wait for rank 0."""
    calls = []
    monkeypatch.setattr(train, "launched", lambda: place)
    monkeypatch.setattr(rank_processes, "enter", lambda *given: calls.append(given))
    monkeypatch.setattr(train, "run", lambda *_: ["made"])
    monkeypatch.setattr(train, "read_facts", lambda _: {"digest": ""})
    cells = [SimpleNamespace(spec={"train": {}}), SimpleNamespace(spec={"train": {"ranks": ranks}})]
    job: Any = SimpleNamespace(cells=cells, env={"device": "cpu"})
    context: Any = None
    assert train.seeds(job, context, "data", []) == ["made"]
    assert calls == ([(serve, "cpu")] if entered else [])


def test_a_launched_rank_without_a_meeting_point_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UserError, match="^MASTER_ADDR: must be set where RANK is$"):
        enter(serve, "cpu")


@IN_PROC
def test_ranks_save_when_asked_and_go_on_however_they_were_started(tmp_path: Path) -> None:
    """Ctrl-C; SIGTERM to launched ranks that went on; and to the end: the result is that of one process."""
    saved = tmp_path / "state" / "checkpoint.safetensors"
    asked = launch(tmp_path)
    _, second = begun(tmp_path, asked)
    os.killpg(asked.pid, signal.SIGINT)  # a terminal sends it to rank 1 as well
    _, said = asked.communicate()
    assert asked.returncode and said.endswith("KeyboardInterrupt\n"), said
    assert not lives(second)
    early = saved.read_bytes()

    both = launch_all(tmp_path)
    assert begun(tmp_path, *both) == [process.pid for process in both]
    for process in reversed(both):  # a scheduler sends it to all
        process.terminate()
    told = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [143, 1], told
    assert saved.read_bytes() != early

    torch.set_num_threads(1)
    model, resumed = finished(tmp_path)
    assert resumed is not None and resumed > 1
    expected = Small(norm=True)
    train_seed(expected, parts_of(), None, options_of(ranks=1), Streams(0), CPU)
    torch.testing.assert_close(bits(model), bits(expected), atol=1e-12, rtol=1e-12)
