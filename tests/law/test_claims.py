"""Claims instead of locks: one maker of an entry among all machines, also when a maker is killed or its machine is."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from sparse_ortho import claims
from sparse_ortho.errors import UserError
from sparse_ortho.store import Result, Store

FORK = multiprocessing.get_context("fork")
PATIENCE = 60.0
KEY = "a" * 64
ABOUT = {"cell": "c", "seed": 0}


def elsewhere(path: Path, stale: str, number: int, gate: Any, news: Any) -> None:
    """As another machine sees it: nothing is known of the processes here."""
    claims._host = lambda: f"machine {number}"
    gate.wait()
    for _ in range(5):
        with claims.claimed(path, {claims.STALE: stale}):
            inside = path.parent / "inside"
            inside.open("x").close()  # fails if anybody else is in here
            time.sleep(0.02)
            inside.unlink()
    news.put("fine")


def test_machines_that_see_no_locks_of_each_other_take_turns(tmp_path: Path):
    news, gate = FORK.Queue(), FORK.Event()
    crowd = [FORK.Process(target=elsewhere, args=(tmp_path / "c", "30", n, gate, news)) for n in range(4)]
    for process in crowd:
        process.start()
    gate.set()
    for process in crowd:
        process.join(PATIENCE)
    assert [news.get(timeout=PATIENCE) for _ in crowd] == ["fine"] * 4
    assert not list(tmp_path.iterdir())


def hold(path: str, held: Any) -> None:
    with claims.claimed(Path(path), {claims.STALE: "1"}):
        held.set()
        time.sleep(1000)


@pytest.mark.parametrize("seen", ["here", "elsewhere"])
def test_the_claim_of_a_killed_holder_is_broken(seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At once where its process can be seen to be gone; else when its heartbeat has stopped for long enough."""
    path, held = tmp_path / "claim", FORK.Event()
    holder = FORK.Process(target=hold, args=(str(path), held))
    holder.start()
    assert held.wait(PATIENCE) and holder.pid
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    if seen == "elsewhere":
        monkeypatch.setattr(claims, "_host", lambda: "another machine")
    started = time.monotonic()
    with claims.claimed(path, {claims.STALE: "1" if seen == "elsewhere" else "10000"}):
        waited = time.monotonic() - started
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert seen == "here" or waited > 1
    assert not list(tmp_path.iterdir())


def test_a_heartbeat_keeps_a_claim_for_longer_than_it_takes_to_be_stale(tmp_path: Path):
    """Who waits on another machine breaks nothing while the holder is alive."""
    path, news, gate = tmp_path / "claim", FORK.Queue(), FORK.Event()
    other = FORK.Process(target=elsewhere, args=(path, "2", 1, gate, news))
    with claims.claimed(path, {claims.STALE: "2"}):
        other.start()
        gate.set()
        time.sleep(3)
        assert news.empty()
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert news.get(timeout=PATIENCE) == "fine"
    other.join(PATIENCE)


def test_of_many_who_find_a_stale_claim_one_breaks_it(tmp_path: Path):
    """And none breaks the claim of the one that came next: `elsewhere` fails if two are inside."""
    path, news, gate = tmp_path / "claim", FORK.Queue(), FORK.Event()
    path.write_text(json.dumps({"nonce": "dead", "pid": 1, "born": "0", "host": "a machine that burnt down"}))
    crowd = [FORK.Process(target=elsewhere, args=(path, "0.6", n, gate, news)) for n in range(4)]
    for process in crowd:
        process.start()
    gate.set()
    assert [news.get(timeout=PATIENCE) for _ in crowd] == ["fine"] * 4
    for process in crowd:
        process.join(PATIENCE)


def test_a_torn_claim_is_broken_when_it_is_stale(tmp_path: Path):
    (path := tmp_path / "claim").write_text('{"non')
    with claims.claimed(path, {claims.STALE: "0.3"}):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_without_hard_links_a_claim_is_made_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(claims.os, "link", refuse)
    with claims.claimed(path := tmp_path / "claim"):
        assert not claims._make(path, {"nonce": "other"})
    assert not list(tmp_path.iterdir())


# in the store ------------------------------------------------------------------------------------------------------


def ensure(root: str, gate: Any, made: Any) -> None:
    claims._host = lambda: f"machine {os.getpid()}"
    store = Store(root)

    def make(scratch: Path) -> Result:
        made.put(os.getpid())
        time.sleep(0.3)
        return Result({"pid": os.getpid()})

    gate.wait()
    store.ensure("train", KEY, ABOUT, make)


def test_a_seed_is_made_once_by_processes_on_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """`flock` does nothing here, as over a network; the claims alone keep the others out."""
    monkeypatch.setenv(claims.VARIABLE, "files")
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    gate, made = FORK.Event(), FORK.Queue()
    crowd = [FORK.Process(target=ensure, args=(str(tmp_path), gate, made)) for _ in range(4)]
    for process in crowd:
        process.start()
    gate.set()
    for process in crowd:
        process.join(PATIENCE)
        assert process.exitcode == 0
    found = Store(tmp_path).get("train", KEY)
    assert found and found.row == {"pid": made.get(timeout=PATIENCE)}
    assert made.empty() and not list((tmp_path / "locks").iterdir())


# which ways there are ----------------------------------------------------------------------------------------------


def test_the_file_system_decides_unless_the_user_does(tmp_path: Path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/x /home nfs4 rw 0 0\nserver:/y /home/fast\\040disk xfs rw 0 0\n"
        "tmpfs /homes tmpfs rw 0 0\n"
    )
    found = {
        path: claims.kind_of(Path(path), mounts) for path in ("/var/x", "/home/me", "/home/fast disk/s", "/homes/a")
    }
    assert list(found.values()) == ["ext4", "nfs4", "xfs", "tmpfs"]
    assert claims.wanted(Path("/home/me"), {}, mounts) and not claims.wanted(Path("/var/x"), {}, mounts)
    assert claims.wanted(Path("/var/x"), {claims.VARIABLE: "files"}, mounts)
    assert not claims.wanted(Path("/home/me"), {claims.VARIABLE: "locks"}, mounts)
    assert not claims.wanted(Path("/home/me"), {}, tmp_path / "none")


def test_an_unknown_way_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="SPARSE_ORTHO_CLAIMS: unknown way .*did you mean 'files'"):
        claims.wanted(tmp_path, {claims.VARIABLE: "file"})
