"""The store serves a result only for equal makings, keeps it whole or not at all, and makes it once.

key = sha256(stage, spec, seed, code, env, inputs)
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open

from sparse_ortho import store as module
from sparse_ortho.errors import DiskError
from sparse_ortho.store import FACTS, TENSORS, Result, Store, key_of

SPAWN = multiprocessing.get_context("spawn")
PATIENCE = 120  # seconds until a test that hangs fails
MADE_OF: dict[str, Any] = {
    "stage": "train",
    "spec": {"train": {"lr": 0.1}, "shape": [1, 8, 8]},
    "seed": 0,
    "code": "c0de",
    "env": {"torch": "2.11", "python": "3.11"},
    "inputs": {"init": "aa", "data": "bb"},
}
KEY = key_of(**MADE_OF)
ABOUT = {"cell": "digits-mlp-erk-eoi-d0.1-000000000000", "seed": 0, "code": "c0de", "env": {}, "inputs": {}}
RESULT = Result({"accuracy": 0.5, "status": "ok"}, {"w": np.arange(12.0).reshape(3, 4), "m": np.eye(3, dtype=bool)})


@contextmanager
def fresh(**words: Any) -> Iterator[Store]:
    """A store of its own: a hypothesis test shares `tmp_path` between its examples."""
    with tempfile.TemporaryDirectory() as folder:
        yield Store(folder, **words)


def filled(root: Path) -> Store:
    store = Store(root)
    store.put("train", KEY, RESULT, ABOUT)
    return store


def log_of(store: Store) -> list[dict[str, Any]]:
    path = store.root / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def same(one: Result, other: Result) -> bool:
    """Equal rows, and equal tensors to the bit."""
    return (
        one.row == other.row
        and one.tensors.keys() == other.tensors.keys()
        and all(
            (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
            for a, b in ((one.tensors[name], other.tensors[name]) for name in one.tensors)
        )
    )


def must_not_run(scratch: Path) -> Result:
    raise AssertionError("made again")


# served only for equal makings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"stage": "init"},
        {"spec": {"train": {"lr": 0.2}, "shape": [1, 8, 8]}},
        {"spec": {"train": {"lr": 0.1}, "shape": [8, 1, 8]}},
        {"spec": {"train": {"lr": 0.1, "momentum": 0.9}, "shape": [1, 8, 8]}},
        {"spec": {"train": {"momentum": 0.1}, "shape": [1, 8, 8]}},
        {"seed": 1},
        {"seed": None},
        {"code": "c0df"},
        {"env": {"torch": "2.12", "python": "3.11"}},
        {"env": {"torch": "3.11", "python": "2.11"}},
        {"env": {"torch": "2.11"}},
        {"inputs": {"init": "aa", "data": "bc"}},
        {"inputs": {"init": "bb", "data": "aa"}},
        {"inputs": {"mask": "aa", "data": "bb"}},
        {"inputs": {"init": "aa"}},
        {"env": {}, "inputs": MADE_OF["env"] | MADE_OF["inputs"]},
    ],
    ids=str,
)
def test_a_result_is_not_served_when_anything_that_made_it_differs(other: dict[str, Any], tmp_path: Path) -> None:
    store = filled(tmp_path)
    changed = MADE_OF | other
    assert store.get(changed["stage"], key_of(**changed)) is None
    assert store.get("train", KEY) is not None


def test_a_result_is_served_whatever_the_order_of_what_made_it(tmp_path: Path) -> None:
    reordered = {
        "inputs": {"data": "bb", "init": "aa"},
        "env": {"python": "3.11", "torch": "2.11"},
        "spec": {"shape": [1, 8, 8], "train": {"lr": 0.1}},
    }
    store = filled(tmp_path)
    found, made = store.ensure("train", key_of(**(MADE_OF | reordered)), ABOUT, must_not_run)
    assert not made and same(found, RESULT)
    assert [e["event"] for e in log_of(store)] == ["served"]


def test_the_key_is_the_digest_of_canonical_json() -> None:
    """An independent spelling of the formula: a key that drifts would lose every store."""
    text = (
        '{"code":"c0de","env":{"python":"3.11","torch":"2.11"},"inputs":{"data":"bb","init":"aa"},"seed":0,'
        '"spec":{"shape":[1,8,8],"train":{"lr":0.1}},"stage":"train"}'
    )
    assert hashlib.sha256(text.encode()).hexdigest() == KEY


def test_what_is_not_a_number_has_no_key() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            key_of(**(MADE_OF | {"spec": {"lr": value}}))


# whole or not at all -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["rename", "digest_file", "tensors_to_bytes"])
def test_an_interrupted_put_leaves_nothing(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    store = Store(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.os if step == "rename" else module, step, fail)
        store.put("train", KEY, RESULT, ABOUT)
    assert store.get("train", KEY) is None
    assert not list(tmp_path.rglob(FACTS)) and not list(tmp_path.rglob(TENSORS))
    store.put("train", KEY, RESULT, ABOUT)
    assert same(store.get("train", KEY) or Result({}), RESULT)


def test_a_result_that_is_no_plain_data_leaves_nothing(tmp_path: Path) -> None:
    for row in ({"accuracy": float("nan")}, {"accuracy": object()}):
        store = Store(tmp_path)
        with pytest.raises((ValueError, TypeError)):
            store.put("train", KEY, Result(row, RESULT.tensors), ABOUT)
        assert store.get("train", KEY) is None and not list(tmp_path.rglob(TENSORS))


def put_and_die(root: str) -> None:
    """Everything is written; the process is gone before the rename."""
    module.os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    Store(root).put("train", KEY, RESULT, ABOUT)


def test_a_process_killed_before_the_rename_leaves_no_entry(tmp_path: Path) -> None:
    child = SPAWN.Process(target=put_and_die, args=(str(tmp_path),))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == -signal.SIGKILL
    store = Store(tmp_path)
    assert list((tmp_path / "aside").rglob(FACTS)), "it died too early to show anything"
    assert store.get("train", KEY) is None
    _, made = store.ensure("train", KEY, ABOUT, lambda _: RESULT)
    assert made and same(store.get("train", KEY) or Result({}), RESULT)


def test_who_comes_second_with_a_key_changes_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = (store.path("train", KEY) / FACTS).read_bytes()
    store.put("train", KEY, Result({"accuracy": 0.9}), ABOUT)
    assert (store.path("train", KEY) / FACTS).read_bytes() == before
    assert not list((tmp_path / "aside").iterdir())


def test_who_comes_second_in_the_middle_of_a_put_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, rename = Store(tmp_path), os.rename

    def overtaken(source: Path, target: Path) -> None:
        monkeypatch.setattr(module.os, "rename", rename)
        Store(tmp_path).put("train", KEY, RESULT, ABOUT)
        rename(source, target)

    monkeypatch.setattr(module.os, "rename", overtaken)
    store.put("train", KEY, Result({"accuracy": 0.9}), ABOUT)
    assert same(store.get("train", KEY) or Result({}), RESULT)


# damage ------------------------------------------------------------------------------------------------------------


def assert_refused_once_and_made_again(store: Store) -> None:
    assert store.get("train", KEY) is None
    assert not store.path("train", KEY).exists(), "a damaged entry stayed"
    assert [e["event"] for e in log_of(store)] == ["damaged"] and log_of(store)[0]["reason"]
    found, made = store.ensure("train", KEY, ABOUT, lambda _: RESULT)
    assert made and same(store.get("train", KEY) or Result({}), found)


@pytest.mark.parametrize("file", [FACTS, TENSORS])
@pytest.mark.parametrize("kept", [0, 1, 0.5, -1])
def test_a_truncated_entry_is_refused(file: str, kept: float, tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = store.path("train", KEY) / file
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if kept == 0.5 else int(kept)])
    assert_refused_once_and_made_again(store)


@pytest.mark.parametrize("file", [FACTS, TENSORS])
def test_an_entry_that_lost_a_file_is_refused(file: str, tmp_path: Path) -> None:
    store = filled(tmp_path)
    (store.path("train", KEY) / file).unlink()
    assert_refused_once_and_made_again(store)


@pytest.mark.parametrize("text", ["", "null", "[]", "3", '"digest"', "{}", '{"digest": 1}', "[" * 5000, "\ud800"])
def test_an_entry_that_is_other_json_is_refused(text: str, tmp_path: Path) -> None:
    store = filled(tmp_path)
    (store.path("train", KEY) / FACTS).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert_refused_once_and_made_again(store)


@given(st.data())
def test_no_single_byte_of_an_entry_changes_what_is_served(data: st.DataObject) -> None:
    """Either the entry is refused, or (in the white space of its JSON) it still says the same."""
    with fresh() as store:
        store.put("train", KEY, RESULT, ABOUT)
        path = store.path("train", KEY) / data.draw(st.sampled_from([FACTS, TENSORS]))
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        found = store.get("train", KEY)
        assert found is None or (path.name == FACTS and same(found, RESULT))
        assert store.path("train", KEY).exists() == (found is not None)


def test_tensors_of_another_entry_are_refused(tmp_path: Path) -> None:
    store, other = filled(tmp_path), key_of(**(MADE_OF | {"seed": 1}))
    store.put("train", other, Result({}, {"w": np.zeros((3, 4))}), ABOUT)
    shutil.copy(store.path("train", other) / TENSORS, store.path("train", KEY) / TENSORS)
    assert_refused_once_and_made_again(store)


# made once ---------------------------------------------------------------------------------------------------------


def key_number(number: int) -> str:
    return key_of(**(MADE_OF | {"seed": number}))


def ensure_all(root: str, count: int, gate: Any, answers: Any) -> None:
    """Ensure `count` keys, all processes starting each of them together; every making leaves a line in `calls`."""
    store, made_here = Store(root), 0
    for number in range(count):

        def make(scratch: Path, number: int = number) -> Result:
            with open(Path(root) / "calls", "a") as file:
                file.write(f"{number}\n")
            return Result({"by": os.getpid()}, {"w": np.full(1000, number)})

        gate.wait(PATIENCE)
        result, made = store.ensure("train", key_number(number), ABOUT, make)
        assert result.row["by"] == os.getpid() if made else result.row["by"] != os.getpid()
        made_here += made
    answers.put((made_here, dict(store.events)))


def test_processes_that_want_the_same_result_make_it_once(tmp_path: Path) -> None:
    count, gate, answers = 25, SPAWN.Barrier(3), SPAWN.Queue()
    children = [SPAWN.Process(target=ensure_all, args=(str(tmp_path), count, gate, answers)) for _ in range(3)]
    for child in children:
        child.start()
    told = [answers.get(timeout=PATIENCE) for _ in children]
    for child in children:
        child.join(PATIENCE)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert sorted((tmp_path / "calls").read_text().split(), key=int) == [str(n) for n in range(count)]
    assert sum(made for made, _ in told) == count
    events = [e["event"] for e in log_of(Store(tmp_path))]
    assert (events.count("made"), events.count("served"), events.count("damaged")) == (count, 2 * count, 0)
    assert not list((tmp_path / "locks").iterdir()), "locks are left behind"


def test_a_lock_file_that_goes_while_we_look_is_queued_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path, flock = Store(tmp_path), tmp_path / "locks" / f"train-{KEY}", fcntl.flock
    locked: list[int] = []

    def removed(file: Any, how: int) -> None:
        flock(file, how)
        if not locked:
            path.unlink()
        locked.append(how)

    monkeypatch.setattr(module.fcntl, "flock", removed)
    with store.lock("train", KEY):
        assert path.is_file() and len(locked) == 2


def test_a_lock_file_that_goes_between_two_looks_is_queued_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder before us removed its file, another made a new one and removes it while we compare them."""
    store, path, stat = Store(tmp_path), tmp_path / "locks" / f"train-{KEY}", Path.stat
    looks: list[Path] = []

    def vanishing(self: Path, **words: Any) -> os.stat_result:
        if self == path:
            looks.append(self)
            if len(looks) == 2:
                path.unlink()
        return stat(self, **words)

    monkeypatch.setattr(Path, "stat", vanishing)
    for _ in range(2):
        with store.lock("train", KEY):
            pass
    assert len(looks) >= 3


def hold(root: str, held: Any) -> None:
    with Store(root).lock("train", KEY):
        held.set()
        signal.pause()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    held, store = SPAWN.Event(), Store(tmp_path)
    child = SPAWN.Process(target=hold, args=(str(tmp_path), held))
    child.start()
    assert held.wait(PATIENCE)
    with open(tmp_path / "locks" / f"train-{KEY}") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    made = threading.Event()
    waiter = threading.Thread(
        target=lambda: (store.ensure("train", KEY, ABOUT, lambda _: RESULT), made.set()), daemon=True
    )
    waiter.start()
    assert not made.is_set()
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join(PATIENCE)
    assert made.wait(PATIENCE), "the lock outlived its process"
    waiter.join(PATIENCE)
    assert [e["event"] for e in log_of(store)] == ["started", "made"]


def test_a_lock_is_given_back_when_making_fails(tmp_path: Path) -> None:
    def fail(scratch: Path) -> Result:
        scratch.mkdir(parents=True)
        raise RuntimeError("no")

    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="no"):
        store.ensure("train", KEY, ABOUT, fail)
    assert store.get("train", KEY) is None and store.scratch("train", KEY).is_dir()
    _, made = store.ensure("train", KEY, ABOUT, lambda _: RESULT)
    assert made and [e["event"] for e in log_of(store)] == ["started", "resumed", "made"]
    assert not store.scratch("train", KEY).exists(), "checkpoints outlived their success"


# enabled=False -----------------------------------------------------------------------------------------------------


def test_a_store_that_is_off_makes_again_and_keeps_the_new(tmp_path: Path) -> None:
    filled(tmp_path)
    off = Store(tmp_path, enabled=False)
    off.scratch("train", KEY).mkdir(parents=True)
    again = Result({"accuracy": 0.75}, {"w": np.zeros(2)})

    def make(scratch: Path) -> Result:
        assert not scratch.exists(), "resumed from what is not to be served"
        return again

    for _ in range(2):
        found, made = off.ensure("train", KEY, ABOUT, make)
        assert made and found is again
    assert off.events == {"started": 2, "made": 2}
    served, made = Store(tmp_path).ensure("train", KEY, ABOUT, must_not_run)
    assert not made and same(served, again)


# what is on the disk -----------------------------------------------------------------------------------------------


def test_an_entry_is_read_by_json_and_safetensors_alone(tmp_path: Path) -> None:
    folder = filled(tmp_path).path("train", KEY)
    assert sorted(path.name for path in folder.iterdir()) == [FACTS, TENSORS]
    entry = json.loads((folder / FACTS).read_text())
    assert entry["row"] == RESULT.row and entry["about"] == ABOUT
    assert entry["tensors"] == hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
    with safe_open(folder / TENSORS, framework="numpy") as file:
        header = json.loads(file.metadata()["sparse_ortho"])
        assert (file.get_tensor("w") == RESULT.tensors["w"]).all()
        bits = np.unpackbits(file.get_tensor("m"), bitorder="little")[:9].reshape(header["packed"]["m"])
    assert (bits == np.eye(3)).all()


def test_an_entry_without_tensors_is_one_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("train", KEY, Result({"status": "refused"}), ABOUT)
    assert [path.name for path in store.path("train", KEY).iterdir()] == [FACTS]
    assert same(store.get("train", KEY) or Result({"no": 1}), Result({"status": "refused"}))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
KINDS = [np.dtype(kind) for kind in (bool, "f4", "f8", "f2", "i8", "u1", "i4")]
ARRAYS = st.sampled_from(KINDS).flatmap(
    lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9))
)
NAMES = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=12)


@given(st.dictionaries(st.text(max_size=6), PLAIN, max_size=4), st.dictionaries(NAMES, ARRAYS, max_size=4))
@example({"x": -0.0, "y": 5e-324, "z": 1e22, "ü\U0001f600": [True, 1, 1.0, None]}, {"m": np.zeros(0, dtype=bool)})
@example({}, {"column": np.eye(4, 3, dtype=bool).T, "strided": np.arange(20.0)[::3]})
def test_rows_and_arrays_come_back_to_the_bit(row: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    with fresh() as store:
        store.put("train", KEY, Result(row, tensors), ABOUT)
        found = store.get("train", KEY)
        assert found is not None and not store.events
        assert same(found, Result(row, tensors))
        assert json.dumps(found.row, sort_keys=True) == json.dumps(row, sort_keys=True)


def test_a_scalar_comes_back_as_a_scalar(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("train", KEY, Result({}, {"step": np.array(7), "on": np.array(True)}), ABOUT)
    assert {name: array.shape for name, array in store.get("train", KEY).tensors.items()} == {"step": (), "on": ()}


def test_equal_results_are_equal_bytes(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    one.put("train", KEY, RESULT, ABOUT)
    backwards = Result(dict(reversed(RESULT.row.items())), dict(reversed(RESULT.tensors.items())))
    other.put("train", KEY, backwards, dict(reversed(ABOUT.items())))
    for file in (FACTS, TENSORS):
        assert (one.path("train", KEY) / file).read_bytes() == (other.path("train", KEY) / file).read_bytes()


# the log -----------------------------------------------------------------------------------------------------------


def write_log(root: str, who: int, gate: Any) -> None:
    store = Store(root)
    gate.wait(PATIENCE)
    for number in range(300):
        store.log("made", "train", KEY, who=who, number=number, padding="x" * (number * 7 % 900))


def test_log_lines_of_concurrent_writers_are_whole(tmp_path: Path) -> None:
    gate = SPAWN.Barrier(3)
    children = [SPAWN.Process(target=write_log, args=(str(tmp_path), who, gate)) for who in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE)
    assert [child.exitcode for child in children] == [0, 0, 0]
    lines = log_of(Store(tmp_path))
    for who in range(3):
        assert [line["number"] for line in lines if line["who"] == who] == list(range(300))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_disk_that_takes_nothing_is_one_sentence(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    store = Store(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(DiskError, match="cannot be written") as caught:
        patch.setattr(module.os, "rename", fail)
        store.ensure("train", KEY, ABOUT, lambda _: RESULT)
    assert "\n" not in str(caught.value)
    assert store.get("train", KEY) is None and not list(tmp_path.rglob(FACTS))
