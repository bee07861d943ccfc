"""Which GPUs a training may use: processes of one machine that train at once get devices of their own.

Snakemake counts GPUs and names none, so four jobs of a machine with four would all train on the first. A process takes
its devices before CUDA starts and keeps them until it ends: `flock` on one file a device and slot, in a folder of the
user's on this machine (over a network, locks are not to be relied on). The kernel gives a lock back however its process
ends, so nothing is ever stale. Who waits stands in a queue, first come first served.

Devices are those of CUDA_VISIBLE_DEVICES, or else all that this machine shows. Inside a scheduler's job they are those
that it gave; where it gave none by name, nothing is leased. The folder is then that of the scheduler's task: two tasks
may both see their own device as number 0, while the jobs of a Snakemake group share one task and one device, and would
all train on it at once. Processes that torchrun or srun started as ranks of one training (RANK and WORLD_SIZE) have
their device by their number.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from sparse_ortho.errors import UserError, disk_errors

LISTED = "SPARSE_ORTHO_DEVICES"  # names of devices instead of those found, as a test has them
SLOTS = "SPARSE_ORTHO_SLOTS"  # trainings that share a device
FOLDER = "SPARSE_ORTHO_LEASES"
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")
TASK = ("SLURM_STEP_ID", "SLURM_LOCALID")  # processes of one task see the same devices
TEMPORARY = "/tmp"  # not TMPDIR, which may differ between two sessions of a user
POLL = 0.1  # seconds between two looks of who waits
PATIENT = 5.0  # seconds after which who waits says so


@dataclass(frozen=True)
class Offer:
    """What may be leased: names of devices as CUDA takes them, slots each, and the folder of their locks."""

    devices: tuple[str, ...]
    slots: int
    folder: Path


@dataclass
class Lease:
    """Devices held by this process until it gives them back or ends, whatever becomes of this object."""

    devices: tuple[str, ...]
    locks: list[int] = field(default_factory=list)  # open files

    def give_back(self) -> None:
        while self.locks:
            os.close(self.locks.pop())


def offered(environ: Mapping[str, str], machine: Path = Path("/dev")) -> Offer | None:
    """What a process may choose from; None where the choice is not ours."""
    if environ.get("RANK") and environ.get("WORLD_SIZE", "1") != "1":
        return None
    listed = environ.get(LISTED) or environ.get("CUDA_VISIBLE_DEVICES")
    job = next((f"{name}-{environ[name]}" for name in SCHEDULERS if environ.get(name)), None)
    if job and listed is None:
        return None
    devices = shown(listed) if listed is not None else found(machine)
    place = Path(environ.get(FOLDER) or Path(TEMPORARY, f"sparse-ortho-{os.getuid()}"))
    task = "-".join([job, *(environ.get(name, "") for name in TASK)]) if job else "machine"
    return Offer(devices, slots_of(environ), place / quote(task, safe=""))


def shown(listed: str) -> tuple[str, ...]:
    """The devices of a list, as CUDA reads it: up to the first empty or negative entry."""
    names: list[str] = []
    for name in (part.strip() for part in listed.split(",")):
        if not name or name.startswith("-"):
            break
        if name not in names:
            names.append(name)
    return tuple(names)


def found(machine: Path) -> tuple[str, ...]:
    numbers = (re.fullmatch(r"nvidia(\d+)", path.name) for path in machine.glob("nvidia*"))
    return tuple(map(str, sorted(int(number[1]) for number in numbers if number)))


def slots_of(environ: Mapping[str, str]) -> int:
    text = environ.get(SLOTS) or "1"
    if not (text.isdecimal() and int(text) > 0):
        raise UserError(SLOTS, "must be a whole number from 1", found=text)
    return int(text)


def take(offer: Offer, wanted: int = 1, waiting: Callable[[str], None] = lambda line: None) -> Lease:
    """So many devices of an offer, all at once and each another one, after everybody who came before."""
    if wanted > len(offer.devices):
        raise UserError("device", f"{wanted} CUDA devices are wanted at once", found=", ".join(offer.devices) or "none")
    with disk_errors(offer.folder):
        offer.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if offer.folder.stat().st_uid != os.getuid():
            raise UserError(str(offer.folder), "belongs to another user; set SPARSE_ORTHO_LEASES to a folder of yours")
        ticket, queued = _queue(offer.folder)
    started, told = time.monotonic(), False
    try:
        while True:
            if _first(ticket) and (lease := _all(offer, wanted)):
                os.register_at_fork(after_in_child=lease.give_back)  # CUDA does not outlive a fork, nor may the lock
                return lease
            if not told and time.monotonic() - started > PATIENT:
                waiting(f"waits for {wanted} of the devices {', '.join(offer.devices)}: others train on them")
                told = True
            time.sleep(POLL)
    finally:
        ticket.unlink(missing_ok=True)
        os.close(queued)


def take_for(environ: dict[str, str] | os._Environ[str], wanted: int, say: Callable[[str], None]) -> Lease | None:
    """Devices for this process, named to CUDA in its environment; None where they were given."""
    offer = offered(environ)
    if offer is None:
        return None
    lease = take(offer, wanted, say)
    environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as /dev and nvidia-smi number them
    environ["CUDA_VISIBLE_DEVICES"] = ",".join(lease.devices)
    return lease


def _all(offer: Offer, wanted: int) -> Lease | None:
    """All that is wanted or nothing; the first slot of every device before the second of any."""
    lease = Lease(())
    for slot in range(offer.slots):
        for device in offer.devices:
            if device in lease.devices:
                continue
            lock = _locked(offer.folder / f"{quote(device, safe='')}.{slot}")
            if lock is not None:
                lease.locks.append(lock)
                lease.devices += (device,)
                if len(lease.devices) == wanted:
                    return lease
    lease.give_back()
    return None


def _queue(folder: Path) -> tuple[Path, int]:
    """A place in the queue: a locked file whose name is the time of arrival, by the clock that all processes share."""
    name = f"{time.monotonic_ns():020d}-{os.getpid()}"
    lock = _locked(folder / f"new-{name}")  # before it has its name: an unlocked place is one whose process is gone
    assert lock is not None  # nobody else knows it
    ticket = folder / f"wait-{name}"
    os.rename(folder / f"new-{name}", ticket)
    return ticket, lock


def _first(ticket: Path) -> bool:
    """Whether everybody who came before has got theirs or is gone."""
    for other in sorted(ticket.parent.glob("wait-*")):
        if other.name >= ticket.name:
            return True
        lock = _locked(other, 0)
        if lock is not None:
            other.unlink(missing_ok=True)
            os.close(lock)
        elif other.exists():
            return False
    return True


def _locked(path: Path, create: int = os.O_CREAT) -> int | None:
    """The file, opened and locked by us; None if another process holds it or it is gone."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | create, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
