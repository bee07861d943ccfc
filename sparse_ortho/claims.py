"""Who makes an entry, on a file system whose locks are not to be relied on: a file that says so, and its heartbeat.

    SPARSE_ORTHO_CLAIMS = files | locks | auto        auto: files where the store lies on a file system of a network

A claim is made by O_EXCL, which one process of all machines can do once. Its holder touches it every few seconds. Who
waits breaks a claim whose holder is known to be gone (a process of this machine that does not run any more), or which
was not touched for SPARSE_ORTHO_CLAIM_STALE seconds of the waiter's own clock: clocks of machines differ. Of several
who want to break a claim the one that makes the file named by its nonce may, so nobody breaks that of the next holder.
A machine that stands still for longer and then goes on may make a seed a second time; the entry is then the first.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sparse_ortho.errors import UserError, disk_errors

VARIABLE, STALE = "SPARSE_ORTHO_CLAIMS", "SPARSE_ORTHO_CLAIM_STALE"
WAYS = ("auto", "files", "locks")
SECONDS = 120.0  # without a heartbeat: NFS may show a time stamp that is a minute old
BEATS = 12  # heartbeats in that time
POLL = 0.25
NETWORKED = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p", "fuse.sshfs"} | {
    "fuse.glusterfs",
    "fuse.ceph",
    "glusterfs",
    "orangefs",
}


def wanted(root: Path, environ: Mapping[str, str] = os.environ, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether the store under `root` is to use claims."""
    way = environ.get(VARIABLE) or "auto"
    if way not in WAYS:
        raise UserError(VARIABLE, "unknown way of telling who makes an entry", found=way, allowed=WAYS)
    return way == "files" or (way == "auto" and kind_of(root, mounts) in NETWORKED)


def kind_of(root: Path, mounts: Path) -> str:
    """The type of the file system that a path lies on, or will; unknown where there is no list of mounts."""
    place, best, kind = os.path.realpath(root), -1, ""
    with suppress(OSError):
        for line in mounts.read_text().splitlines():
            _, mounted, found = line.split(" ")[:3]
            folder = mounted.replace("\\040", " ").rstrip("/")
            if (place + "/").startswith(folder + "/") and len(folder) >= best:
                best, kind = len(folder), found
    return kind


@contextmanager
def claimed(path: Path, environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Held as `path` while the body runs; waits for whoever holds it."""
    stale = float(environ.get(STALE) or SECONDS)
    nonce = secrets.token_hex(8)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _wait(path, nonce, stale)
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, nonce, stale / BEATS, over), daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()
        if _read(path).get("nonce") == nonce:
            path.unlink(missing_ok=True)


def _wait(path: Path, nonce: str, stale: float) -> None:
    seen: tuple[Any, float] = (None, time.monotonic())  # what the claim looked like, and since when
    while not _make(path, {"nonce": nonce, "pid": os.getpid(), "born": _born(os.getpid()), "host": _host()}):
        told = _read(path)
        look = (told.get("nonce"), _touched(path))
        if look != seen[0]:
            seen = (look, time.monotonic())
        if _gone(told) or time.monotonic() - seen[1] > stale:
            _break(path, told)
            seen = (None, time.monotonic())
        time.sleep(min(POLL, stale / 4))


def _make(path: Path, told: Mapping[str, Any]) -> bool:
    """Make the claim whole: written aside and linked to its name, which fails if that is there."""
    aside = path.with_name(f"{path.name}.{told['nonce']}")
    aside.write_text(json.dumps(told))
    try:
        os.link(aside, path)
        return True
    except FileExistsError:
        return False
    except OSError:  # no hard links here: O_EXCL, and for a moment an empty claim
        with suppress(FileExistsError), open(path, "x") as file:
            file.write(json.dumps(told))
            return True
        return False
    finally:
        aside.unlink(missing_ok=True)


def _break(path: Path, told: Mapping[str, Any]) -> None:
    """Remove a claim that nobody holds any more, unless another one does so."""
    right = path.with_name(f"{path.name}.break-{told.get('nonce', 'torn')}")
    try:
        right.open("x").close()
    except FileExistsError:
        if time.time() - (_touched(right) or 0) / 1e9 > SECONDS:  # who had the right is gone too
            right.unlink(missing_ok=True)
        return
    if _read(path).get("nonce") == told.get("nonce"):
        path.unlink(missing_ok=True)
    right.unlink(missing_ok=True)


def _gone(told: Mapping[str, Any]) -> bool:
    """Whether the holder is a process of this machine that has ended; of another machine nothing is known."""
    return told.get("host") == _host() and _born(told.get("pid", 0)) != told.get("born", "")


def _beat(path: Path, nonce: str, every: float, over: threading.Event) -> None:
    while not over.wait(every):
        with suppress(OSError):
            if _read(path).get("nonce") == nonce:
                os.utime(path)


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        told = json.loads(path.read_text())
        return told if isinstance(told, dict) else {}
    return {}


def _touched(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return None


def _born(pid: int) -> str | None:
    """When a process of this machine began, since numbers come again; None if there is none (or it is a zombie)."""
    with suppress(OSError, IndexError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if words[0] in "ZX" else words[19]
    return None


def _host() -> str:
    """This machine since it was started, and the processes that it can see: two containers may share a name."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    return f"{platform.node()} {os.getpid()}"
