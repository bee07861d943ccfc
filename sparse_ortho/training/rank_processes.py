"""The processes of a training by several ranks: started here, or joined if torchrun or srun started them (launched.py).

Rank 0 is the process that trains anyway. The others ignore SIGTERM and Ctrl-C, which rank 0 answers for all
(stopping.py), and end when its process does, however it does. A rank that fails leaves its reason in the group's store,
and rank 0, whose next sum fails, ends with it. Those that torchrun or srun started stay for all the seeds of rank 0's
job and end with its process; the others are started for one seed.

Sums go through gloo on CPUs and through NCCL on CUDA devices, one device a rank; words always go through gloo.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from multiprocessing import connection, process, resource_tracker
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch._C._distributed_c10d import FileStore
from torch.distributed import distributed_c10d as c10d
from torch.distributed.rendezvous import rendezvous

from sparse_ortho.errors import UserError
from sparse_ortho.training.launched import launched
from sparse_ortho.training.rank_group import Ranks

LOG = logging.getLogger(__name__)
# A rank may wait for days, while rank 0 trains what is not for several; one that is lost is noticed by its connection.
PATIENCE = timedelta(days=30)
NOTICED = 2.0  # seconds in which the system tells of a process whose connection broke
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
Serve = Callable[[Ranks, torch.device], None]


@contextlib.contextmanager
def together(size: int, kind: str, backend: str, folder: Path, serve: Serve) -> Iterator[Ranks]:
    """This process as rank 0 of `size`, the others of which do `serve` on devices of this kind."""
    group = joined(size, backend) if launched() == (0, size) else started(size, kind, backend, folder, serve)
    with group as ranks:
        yield ranks


@contextlib.contextmanager
def started(size: int, kind: str, backend: str, folder: Path, serve: Serve) -> Iterator[Ranks]:
    """With processes of its own, which end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    others: list[process.BaseProcess] = []
    over = threading.Event()
    with tempfile.TemporaryDirectory(prefix="ranks-", dir=folder) as place:
        store = FileStore(f"{place}/store", size)
        try:
            for rank in range(1, size):
                others.append(start(spawned, (serve, rank, size, kind, backend, place)))
            while not store.check([f"ready{rank}" for rank in range(1, size)]):
                if connection.wait([other.sentinel for other in others], 0.02):
                    raise RuntimeError("a rank ended before it was ready")
            join(backend, store, 0, size)
            if "nccl" in backend:
                threading.Thread(target=abort_with, args=(others, over), daemon=True).start()
            yield Ranks(0, size)
        except RuntimeError as error:
            if told := reason(store) or lost(others):
                raise UserError("train.ranks", told) from error
            raise
        finally:
            over.set()
            for other in others:
                other.kill()
                other.join()
            if dist.is_initialized():
                (c10d._abort_process_group if "nccl" in backend else dist.destroy_process_group)()


@contextlib.contextmanager
def joined(size: int, backend: str) -> Iterator[Ranks]:
    """With the processes that were started with it, which stay."""
    if not dist.is_initialized():
        join(backend, *met())
    try:
        yield Ranks(0, size)
    except UserError:
        raise
    except Exception as error:  # to go on with other seeds would be to wait for ranks that have left
        LOG.error("%s", traceback.format_exc())
        raise UserError("train.ranks", reason(c10d._get_default_store()) or sentence(error)) from error


def enter(serve: Serve, kind: str) -> None:
    """In a process that torchrun or srun started: rank 0 comes back, another one serves until rank 0 is gone."""
    store, rank, size = met()
    place = own_device(kind, int(os.environ.get("LOCAL_RANK", rank)))
    join(BACKENDS[kind], store, rank, size)
    if rank:
        serving(serve, Ranks(rank, size), place, c10d._get_default_store())


def met() -> tuple[Any, int, int]:
    """The store, rank and number of ranks of the launcher."""
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise UserError(name, "must be set where RANK is")
    return next(rendezvous("env://"))


def join(backend: str, store: Any, rank: int, size: int) -> None:
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)


def start(target: Callable[..., None], arguments: tuple[Any, ...]) -> process.BaseProcess:
    """It inherits that signals wait, until it ignores them: a Ctrl-C while it imports torch would end it."""
    resource_tracker.ensure_running()  # else its start, within that of the process, would let signals through
    other = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        other.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return other


def spawned(serve: Serve, rank: int, size: int, kind: str, backend: str, place: str) -> None:
    """A process of `started`, from its first line to its last."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    store = FileStore(f"{place}/store", size)
    device = own_device(kind, rank)
    store.set(f"ready{rank}", "")
    join(backend, store, rank, size)
    serving(serve, Ranks(rank, size), device, store)


def serving(serve: Serve, ranks: Ranks, device: torch.device, store: Any) -> None:
    """Never returns: what is left of the process might wait for ranks that are gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        serve(ranks, device)
    except BaseException as error:
        with contextlib.suppress(Exception):
            told = {"reason": f"rank {ranks.rank} failed: {sentence(error)}", "traceback": traceback.format_exc()}
            store.set(f"failure{store.add('failures', 1)}", json.dumps(told))
        os._exit(1)
    os._exit(0)


def own_device(kind: str, number: int) -> torch.device:
    if kind != "cuda":
        return torch.device(kind)
    place = torch.device("cuda", number % torch.cuda.device_count())
    torch.cuda.set_device(place)
    return place


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    connection.wait([parent.sentinel] if parent else [])
    os._exit(1)


def abort_with(others: Sequence[process.BaseProcess], over: threading.Event) -> None:
    """NCCL waits for a rank that is gone; aborted, it lets rank 0 come to an error."""
    connection.wait([other.sentinel for other in others])
    if not over.is_set():
        c10d._abort_process_group()


def reason(store: Any) -> str:
    """Of the first rank that failed: the others fail because of it."""
    if not store.check(["failure1"]):
        return ""
    told = json.loads(store.get("failure1"))
    LOG.error("%s", told["traceback"])
    return told["reason"]


def lost(others: Sequence[process.BaseProcess]) -> str:
    """Which of the others is gone, and how it ended: a signal is a negative number."""
    gone = connection.wait([other.sentinel for other in others], NOTICED)
    for rank, other in enumerate(others, start=1):
        if other.sentinel in gone:
            other.join()
            return f"rank {rank} ended with exit status {other.exitcode}"
    return ""


def sentence(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}"
