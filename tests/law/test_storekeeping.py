"""Forget, collect, measure, share: what goes is exactly what was named, what comes in is verified."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_ortho import storekeeping as keep
from sparse_ortho.artifacts import canonical, digest_text
from sparse_ortho.errors import UserError
from sparse_ortho.store import FACTS, TENSORS, Result, Store, key_of
from tests.law.test_store import fresh

ERK, DENSE, SNIP = "digits-mlp-erk-0123456789ab", "digits-mlp-dense-0123456789ac", "mnist-mlp-snip-0123456789ad"
CELLS = (ERK, DENSE, SNIP)


def put(store: Store, stage: str, cell: str, seed: int, size: int = 10) -> str:
    made_of: dict[str, Any] = {"spec": {"cell": cell}, "seed": seed, "code": "c0de", "env": {}, "inputs": {}}
    key = key_of(stage, **made_of)
    tensors = {"w": np.full(size, seed, dtype=np.float32)} if size else {}
    store.put(stage, key, Result({"cell": cell, "seed": seed}, tensors), {"cell": cell, **made_of})
    return key


def filled(root: Path) -> Store:
    """Two stages, three cells, two seeds."""
    store = Store(root)
    for stage in ("init", "train"):
        for cell in CELLS:
            for seed in (0, 1):
                put(store, stage, cell, seed)
    return store


def held(store: Store) -> set[tuple[str, str, int]]:
    return {(stage, facts["about"]["cell"], facts["about"]["seed"]) for stage, _, facts in keep.entries(store)}


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


ALL = {(stage, cell, seed) for stage in ("init", "train") for cell in CELLS for seed in (0, 1)}


# forget ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "gone"), [(ERK, {ERK}), ("digits-mlp-", {ERK, DENSE}), ("digits-mlp-e", {ERK}), ("mnist", {SNIP})]
)
def test_forgetting_drops_what_begins_so_and_nothing_else(prefix: str, gone: set[str], tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert keep.forget(store, prefix) == 4 * len(gone)
    assert held(store) == {entry for entry in ALL if entry[1] not in gone}


def test_forgetting_drops_the_checkpoints_too(tmp_path: Path) -> None:
    store = filled(tmp_path)
    key = put(store, "train", ERK, 7)
    for folder in (store.scratch("train", key), other := store.scratch("train", "0" * 64)):
        folder.mkdir(parents=True)
    keep.forget(store, ERK)
    assert not store.scratch("train", key).exists() and other.is_dir()


@pytest.mark.parametrize("number", [1, 30])
def test_an_unknown_cell_is_refused_with_the_nearest(number: int, tmp_path: Path) -> None:
    store = filled(tmp_path)
    for other in range(number):  # many cells that come first in the alphabet
        put(store, "train", f"aaa-{other}", 0, size=0)
    with pytest.raises(UserError, match=f"did you mean '{SNIP}'") as caught:
        keep.forget(store, SNIP.replace("snip", "snap"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800
    assert held(store) >= ALL


def test_nothing_is_forgotten_when_no_cell_is_named(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with pytest.raises(UserError):
        keep.forget(store, "")
    assert held(store) == ALL


def test_forgetting_in_an_empty_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the store is empty"):
        keep.forget(Store(tmp_path / "none"), ERK)


# gc ----------------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.sets(st.sampled_from(sorted({entry[:2] for entry in ALL}))), st.booleans())
def test_gc_takes_exactly_what_nobody_plans(planned: set[tuple[str, str]], delete: bool) -> None:
    with fresh() as store:
        filled(store.root)
        leftover = store.root / "aside" / "crashed"
        leftover.mkdir(parents=True)
        (leftover / TENSORS).write_bytes(b"half")
        listed = keep.collect(store, lambda stage, cell: (stage, cell) in planned, delete)
        doomed = {entry for entry in ALL if entry[:2] not in planned}
        assert len(listed) == len(doomed) + 1 and leftover in listed
        assert held(store) == (ALL - doomed if delete else ALL)
        assert [path.exists() for path in listed] == [not delete] * len(listed)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "{}", '{"about": {}}', '{"about": null}', '{"about": {"cell": 3}}']
)
def test_an_unreadable_entry_is_passed_over(text: str, tmp_path: Path) -> None:
    store = filled(tmp_path)
    (store.path("train", put(store, "train", ERK, 7)) / FACTS).write_text(text)
    assert held(store) == ALL
    assert keep.size(store)["train"][0] == 6
    assert keep.collect(store, lambda *_: True, delete=True) == []
    assert keep.export(store, tmp_path / "store.tar") == len(ALL)
    assert keep.forget(store, ERK) == 4


# size --------------------------------------------------------------------------------------------------------------


def test_size_counts_entries_and_their_bytes(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for stage in ("init", "train"):
        written = sum(len(data) for name, data in files(tmp_path).items() if name.startswith(stage + "/"))
        assert keep.size(store)[stage] == (6, written)
    assert keep.size(Store(tmp_path / "none")) == {}


# export ------------------------------------------------------------------------------------------------------------


def test_equal_stores_give_equal_archives(tmp_path: Path) -> None:
    """Filled in another order, at another time, with another log."""
    one, other = filled(tmp_path / "one"), Store(tmp_path / "other")
    for stage, cell, seed in sorted(ALL, reverse=True):
        put(other, stage, cell, seed)
    other.log("made", "train", "0" * 64)
    for path in other.root.rglob("*"):
        os.utime(path, (1, 1))
    archives = [tmp_path / "one.tar", tmp_path / "other.tar"]
    assert [keep.export(store, path) for store, path in zip((one, other), archives, strict=True)] == [12, 12]
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as tar:
        assert {(m.mtime, m.uid, m.uname) for m in tar} == {(0, 0, "")}


def test_an_empty_store_is_shared_too(tmp_path: Path) -> None:
    assert keep.export(Store(tmp_path / "none"), tmp_path / "empty.tar") == 0
    assert keep.take_in(Store(tmp_path / "other"), tmp_path / "empty.tar") == (0, 0)


def test_an_archive_that_somebody_compressed_is_read_all_the_same(tmp_path: Path) -> None:
    keep.export(filled(tmp_path / "one"), tmp_path / "one.tar")
    for suffix, opened in ((".gz", gzip.open), (".xz", lzma.open), (".bz2", bz2.open)):
        with opened(tmp_path / f"one.tar{suffix}", "wb") as file:
            file.write((tmp_path / "one.tar").read_bytes())
        other = Store(tmp_path / suffix)
        assert keep.take_in(other, tmp_path / f"one.tar{suffix}") == (12, 0)


def test_an_export_into_a_missing_folder_makes_it(tmp_path: Path) -> None:
    assert keep.export(filled(tmp_path / "store"), tmp_path / "new" / "store.tar") == 12
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["store.tar"]


# import ------------------------------------------------------------------------------------------------------------


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def members_of(store: Store, stage: str, key: str) -> dict[str, bytes]:
    return {f"{stage}/{key}/{path.name}": path.read_bytes() for path in sorted(store.path(stage, key).iterdir())}


def test_import_takes_what_is_missing_and_only_that(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "one"), Store(tmp_path / "other")
    here = {put(other, "train", ERK, 0): "ours", put(other, "train", "cifar-x-0123456789ae", 0): "only here"}
    stamp = {key: (other.path("train", key) / FACTS).stat().st_mtime_ns for key in here}
    keep.export(one, tmp_path / "one.tar")
    assert keep.take_in(other, tmp_path / "one.tar") == (11, 0)
    assert held(other) == ALL | {("train", "cifar-x-0123456789ae", 0)}
    assert {key: (other.path("train", key) / FACTS).stat().st_mtime_ns for key in here} == stamp
    assert keep.take_in(other, tmp_path / "one.tar") == (0, 0)


def test_export_and_import_give_an_equal_store(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "one"), Store(tmp_path / "other")
    put(one, "mask", ERK, 0, size=0)  # a row without tensors
    keep.export(one, tmp_path / "one.tar")
    keep.take_in(other, tmp_path / "one.tar")
    assert files(other.root) == files(one.root)
    for stage, key, _ in keep.entries(one):
        assert other.get(stage, key) is not None


def reword(data: bytes) -> bytes:
    return data.replace(b'"seed": 0', b'"seed": 9')


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (FACTS, reword),
        (FACTS, lambda data: data[:-3]),
        (FACTS, lambda data: b"[]"),
        (FACTS, lambda data: b""),
        (FACTS, None),
        (TENSORS, lambda data: data[:-1]),
        (TENSORS, lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        (TENSORS, None),
    ],
)
def test_import_refuses_damaged_entries_one_by_one(
    file: str, damage: Callable[[bytes], bytes] | None, tmp_path: Path
) -> None:
    one, other = filled(tmp_path / "one"), Store(tmp_path / "other")
    bad = key_of("train", {"cell": ERK}, 0, "c0de", {}, {})
    members = {}
    for stage, key, _ in keep.entries(one):
        members |= members_of(one, stage, key)
    name = f"train/{bad}/{file}"
    if damage is None:
        del members[name]
    else:
        assert damage(members[name]) != members[name]
        members[name] = damage(members[name])
    assert keep.take_in(other, archive_of(tmp_path / "bad.tar", members)) == (11, 1)
    assert held(other) == ALL - {("train", ERK, 0)}
    assert not other.path("train", bad).exists()


def test_import_refuses_an_entry_with_a_right_digest_that_holds_no_result(tmp_path: Path) -> None:
    store, key = Store(tmp_path / "store"), "a" * 64
    for body in ({}, {"row": {}}, {"about": {"cell": ERK, "seed": 0}}, {"about": None, "row": {}, "tensors": "0" * 64}):
        entry = json.dumps(body | {"digest": digest_text(canonical(body))}).encode()
        assert keep.take_in(store, archive_of(tmp_path / "bad.tar", {f"train/{key}/{FACTS}": entry})) == (0, 1)
        assert store.get("train", key) is None


GOOD = "a" * 64
NAMES = [
    f"../{GOOD}/{FACTS}",
    f"../../{FACTS}",
    f"train/../{FACTS}",
    f"../train/{GOOD}/{FACTS}",
    f"train/{GOOD}/../{FACTS}",
    f"train/{GOOD}/..",
    f"/train/{GOOD}/{FACTS}",
    f"/{GOOD}/{FACTS}",
    f"./{GOOD}/{FACTS}",
    f"train/{GOOD}/other.json",
    f"train/{GOOD}/{FACTS}/",
    f"train/{GOOD.upper()}/{FACTS}",
    f"train/{GOOD[:-1]}/{FACTS}",
    f"train/{GOOD}\n/{FACTS}",
    f"tr ain/{GOOD}/{FACTS}",
    f"tr-ain/{GOOD}/{FACTS}",
    f"train\\..\\x/{GOOD}/{FACTS}",
    "log.jsonl",
    "evil",
]


@pytest.mark.parametrize("name", NAMES)
def test_import_refuses_names_that_are_no_entry(name: str, tmp_path: Path) -> None:
    """And keeps nothing of such an archive, not even its good entries."""
    one, other = filled(tmp_path / "one"), Store(tmp_path / "folder" / "other")
    stage, key, _ = next(keep.entries(one))
    archive = archive_of(tmp_path / "bad.tar", members_of(one, stage, key) | {name: b"{}"})
    before = files(tmp_path)
    with pytest.raises(UserError, match="holds something that is no entry of a store") as caught:
        keep.take_in(other, archive)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_import_refuses_everything_but_plain_files(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo(f"train/{GOOD}/{FACTS}")
    info.type, info.linkname = kind, "/etc/hostname"
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.addfile(info)
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match="holds something that is no entry of a store"):
        keep.take_in(store, tmp_path / "bad.tar")
    assert not store.root.exists()


def text_file(path: Path) -> None:
    path.write_text("no archive, but a text of some length\n" * 40)


def empty_file(path: Path) -> None:
    path.write_bytes(b"")


def cut_short(path: Path) -> None:
    keep.export(filled(path.parent / "one"), path)
    path.write_bytes(path.read_bytes()[:5000])


def cut_short_compressed(path: Path) -> None:
    keep.export(filled(path.parent / "one"), path.with_suffix(".plain"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for number in range(40):
            info = tarfile.TarInfo(f"train/{GOOD}/{FACTS}")
            info.size = 4096
            tar.addfile(info, io.BytesIO(np.random.default_rng(number).bytes(4096)))
    path.write_bytes(packed.getvalue()[:50_000])


def garbled(path: Path) -> None:
    """One header in the middle: to tarfile this looks like the end."""
    keep.export(filled(path.parent / "one"), path)
    with tarfile.open(path) as tar:
        place = tar.getmembers()[5].offset
    data = bytearray(path.read_bytes())
    data[place : place + 512] = b"x" * 512
    path.write_bytes(data)


def cut_between_members(path: Path) -> None:
    keep.export(filled(path.parent / "one"), path)
    with tarfile.open(path) as tar:
        place = tar.getmembers()[6].offset
    path.write_bytes(path.read_bytes()[:place])


def folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    "make", [text_file, empty_file, cut_short, cut_between_members, cut_short_compressed, garbled, folder, nothing]
)
def test_what_is_no_archive_is_one_sentence(make: Callable[[Path], None], tmp_path: Path) -> None:
    path, store = tmp_path / "given.tar", Store(tmp_path / "store")
    make(path)
    with pytest.raises(UserError, match="given.tar: (is not a readable archive|no such file)") as caught:
        keep.take_in(store, path)
    assert "\n" not in str(caught.value)
    assert not store.root.exists()


# artifacts ---------------------------------------------------------------------------------------------------------


def test_orphans_are_the_artifacts_that_no_job_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = ["results/records/a.parquet", "results/records/b.parquet", "results/tables/s/quick/t.md"]
    others = ["results/provenance/train/a.json", "results/store/log.jsonl", "results/report.html"]
    for path in paths + others:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("")
    assert keep.orphans(Path("results"), [paths[0], "./" + paths[2]]) == [Path(paths[1])]
    shutil.rmtree("results")
    assert keep.orphans(Path("results"), []) == []
