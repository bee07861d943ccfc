"""Processes that train at once hold devices of their own, in the order in which they came, as long as they live."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sparse_ortho import lease as module
from sparse_ortho.errors import UserError
from sparse_ortho.lease import Offer, offered, shown, take, take_for
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages import program
from sparse_ortho.stages.bundle import Context
from sparse_ortho.stages.train import Training
from sparse_ortho.store import Store

FORK = multiprocessing.get_context("fork")  # these processes import nothing and start no thread
PATIENCE = 60.0


def offer(folder: Path, devices: tuple[str, ...] = ("0", "1"), slots: int = 1) -> Offer:
    return Offer(devices, slots, folder)


# what may be chosen from -------------------------------------------------------------------------------------------


def test_cuda_reads_its_list_up_to_the_first_empty_or_negative_entry():
    assert shown("2, 0,2,-1,3") == ("2", "0")
    assert shown("") == shown("-1") == ()
    assert shown("GPU-8932f937,MIG-1/0") == ("GPU-8932f937", "MIG-1/0")


def test_without_a_list_all_devices_of_the_machine_are_offered(tmp_path: Path):
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    told = offered({}, tmp_path)
    assert told and told.devices == ("2", "10") and told.slots == 1 and told.folder.name == "machine"
    listed = offered({"CUDA_VISIBLE_DEVICES": "10"}, tmp_path)
    assert listed and listed.devices == ("10",) and listed.folder == told.folder


def test_a_scheduler_is_taken_at_its_word():
    """Nothing named: nothing leased. What it names is shared among the processes of one of its tasks only."""
    slurm = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "0"}
    assert offered(slurm) is None
    one, other = (offered(slurm | {"CUDA_VISIBLE_DEVICES": "0", "SLURM_LOCALID": number}) for number in "01")
    assert one and other and one.devices == other.devices == ("0",) and one.folder != other.folder
    assert all(offered({name: "3"}) is None for name in ("PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"))


def test_ranks_of_one_training_have_their_devices_already():
    assert offered({"RANK": "1", "WORLD_SIZE": "2", "SPARSE_ORTHO_DEVICES": "0,1"}) is None
    assert offered({"RANK": "0", "WORLD_SIZE": "1", "SPARSE_ORTHO_DEVICES": "0,1"}) is not None


@pytest.mark.parametrize("slots", ["0", "-1", "many", "1.5"])
def test_a_number_of_slots_that_is_none_is_refused(slots: str):
    with pytest.raises(UserError, match="SPARSE_ORTHO_SLOTS: must be a whole number from 1"):
        offered({"SPARSE_ORTHO_DEVICES": "0", "SPARSE_ORTHO_SLOTS": slots})


# what is taken -----------------------------------------------------------------------------------------------------


def test_devices_are_distinct_until_every_one_has_a_tenant(tmp_path: Path):
    """Two slots each: the second of a device only after the first of all."""
    held = [take(offer(tmp_path, ("a", "b", "c"), 2)) for _ in range(6)]
    assert [lease.devices for lease in held] == [("a",), ("b",), ("c",)] * 2


def test_several_devices_are_taken_at_once_and_are_distinct(tmp_path: Path):
    told = offer(tmp_path, ("a", "b", "c"), 2)
    first = take(told)
    assert first.devices == ("a",)
    assert take(told, 3).devices == ("b", "c", "a")


def test_more_devices_than_there_are_is_one_sentence(tmp_path: Path):
    with pytest.raises(UserError, match=r"^device: 3 CUDA devices are wanted at once \(found '0, 1'\)$"):
        take(offer(tmp_path), 3)
    with pytest.raises(UserError, match="found 'none'"):
        take(offer(tmp_path, ()))
    assert not list(tmp_path.iterdir())


def test_what_is_given_back_is_taken_again(tmp_path: Path):
    told = offer(tmp_path)
    first, second = take(told), take(told)
    first.give_back()
    assert take(told).devices == first.devices != second.devices


def test_the_environment_names_the_device_before_torch_is_imported(tmp_path: Path):
    environ = {"SPARSE_ORTHO_DEVICES": "5,7", "SPARSE_ORTHO_LEASES": str(tmp_path)}
    assert take_for(environ, 1, lambda line: None) and environ["CUDA_VISIBLE_DEVICES"] == "5"
    other = {"SPARSE_ORTHO_DEVICES": "5,7", "SPARSE_ORTHO_LEASES": str(tmp_path)}
    assert take_for(other, 1, lambda line: None) and other["CUDA_VISIBLE_DEVICES"] == "7"


def test_a_given_environment_is_left_alone():
    environ = {"SLURM_JOB_ID": "7"}
    assert take_for(environ, 1, lambda line: None) is None
    assert environ == {"SLURM_JOB_ID": "7"}


def test_a_program_takes_its_devices_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPARSE_ORTHO_DEVICES", "0,1")
    monkeypatch.setenv("SPARSE_ORTHO_LEASES", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    devices = program.own_devices()
    devices(1)
    devices(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert take(offer(tmp_path / "machine")).devices == ("1",)  # ours is still held, the other was never taken


# many processes ----------------------------------------------------------------------------------------------------


def tenant(folder: str, devices: tuple[str, ...], slots: int, seconds: float, news: Any) -> None:
    lease = take(Offer(devices, slots, Path(folder)))
    news.put(("in", os.getpid(), lease.devices[0], time.monotonic()))
    time.sleep(seconds)
    news.put(("out", os.getpid(), lease.devices[0], time.monotonic()))
    news.close()
    news.join_thread()


@pytest.mark.parametrize("slots", [1, 2])
def test_a_device_never_has_more_tenants_than_slots(slots: int, tmp_path: Path):
    news, devices = FORK.Queue(), ("0", "1", "2")
    crowd = [FORK.Process(target=tenant, args=(str(tmp_path), devices, slots, 0.15, news)) for _ in range(12)]
    for process in crowd:
        process.start()
    heard = [news.get(timeout=PATIENCE) for _ in range(24)]
    for process in crowd:
        process.join(PATIENCE)
    inside = dict.fromkeys(devices, 0)
    for what, _, device, _ in sorted(heard, key=lambda line: line[3]):
        inside[device] += 1 if what == "in" else -1
        assert inside[device] <= slots
    assert {device for _, _, device, _ in heard} == set(devices)
    assert not list(tmp_path.glob("wait-*"))


def waiting(folder: Path) -> int:
    return len(list(folder.glob("wait-*")))


def until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_who_came_first_is_served_first(tmp_path: Path):
    news, mine = FORK.Queue(), take(offer(tmp_path, ("0",)))
    queue = []
    for number in range(5):
        queue.append(FORK.Process(target=tenant, args=(str(tmp_path), ("0",), 1, 0.0, news)))
        queue[-1].start()
        until(lambda number=number: waiting(tmp_path) == number + 1)
    mine.give_back()
    heard = [news.get(timeout=PATIENCE) for _ in range(10)]
    for process in queue:
        process.join(PATIENCE)
    assert [line[1] for line in heard if line[0] == "in"] == [process.pid for process in queue]


def test_who_wants_two_is_not_overtaken_by_those_who_want_one(tmp_path: Path):
    """One of two devices is free all the time; still the one that waits for both comes first."""
    told, news = offer(tmp_path), FORK.Queue()
    first = take(told)

    def pair() -> None:
        take(told, 2)
        news.put("two")

    def single() -> None:
        take(told, 1)
        news.put("one")

    for number, target in enumerate((pair, single)):
        FORK.Process(target=target).start()
        if number == 0:
            until(lambda: waiting(tmp_path) == 1)
    until(lambda: waiting(tmp_path) == 2)
    assert news.empty()
    first.give_back()
    assert [news.get(timeout=PATIENCE) for _ in range(2)] == ["two", "one"]


@pytest.mark.parametrize("killed", ["holder", "waiter"])
def test_a_killed_process_holds_nothing(killed: str, tmp_path: Path):
    """kill -9 of the one that holds, or of the one that waits in front: the next gets the device."""
    news = FORK.Queue()
    mine = take(offer(tmp_path, ("0",))) if killed == "waiter" else None
    victim = FORK.Process(target=tenant, args=(str(tmp_path), ("0",), 1, 1000.0, news))
    victim.start()
    if killed == "holder":
        assert news.get(timeout=PATIENCE)[0] == "in"
    else:
        until(lambda: waiting(tmp_path) == 1)
    other = FORK.Process(target=tenant, args=(str(tmp_path), ("0",), 1, 0.0, news))
    other.start()
    until(lambda: waiting(tmp_path) == (1 if killed == "holder" else 2))
    assert victim.pid
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(PATIENCE)
    if mine:
        mine.give_back()
    assert news.get(timeout=PATIENCE)[:2] == ("in", other.pid)
    other.join(PATIENCE)


def test_who_waits_long_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PATIENT", 0.0)
    monkeypatch.setattr(module, "POLL", 0.01)
    mine, said = take(offer(tmp_path, ("0",))), []

    def told(line: str) -> None:
        said.append(line)
        mine.give_back()

    take(offer(tmp_path, ("0",)), 1, told)
    assert said == ["waits for 1 of the devices 0: others train on them"]


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module.os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(UserError, match="belongs to another user"):
        take(offer(tmp_path))


class Asked(Exception):
    """In place of devices."""


@pytest.mark.parametrize(
    ("device", "status", "asked"), [("cuda", "ok", True), ("cpu", "ok", False), ("cuda", "no", False)]
)
def test_a_training_asks_for_a_device_for_each_rank_and_only_when_it_is_to_train(
    device: str, status: str, asked: bool, tmp_path: Path
):
    """Not for a seed whose network could not be made, nor on a CPU: who waits for a GPU has a use for it."""

    def devices(wanted: int) -> None:
        raise Asked(wanted)

    spec = {"inputs": {"init": "i"}, "train": {}}
    cells = tuple(Task(name, spec | {"train": {"ranks": n}}, [0], "c0de", []) for name, n in (("a", 1), ("b", 3)))
    training: Any = object.__new__(Training)
    training.job = Job("train", "x", {"device": device}, cells)
    training.context = Context(Store(tmp_path), print, devices=devices)
    training.starts = SimpleNamespace(entry=lambda *_: {"row": {"status": status, "reason": "cannot be"}})
    training.images, training.data = {}, str(tmp_path / "none")
    if asked:
        with pytest.raises(Asked, match="3"):
            training.make(cells[0], 0, tmp_path)
    elif status == "no":
        assert training.make(cells[0], 0, tmp_path).row["record"]["status"] == "no"
    else:
        with pytest.raises(UserError, match="no such file"):  # it went on to read the data set
            training.make(cells[0], 0, tmp_path)
