"""Keeping house in the store: what it holds, forgetting, collecting garbage, sharing. No stage imports this."""

from __future__ import annotations

import difflib
import json
import lzma
import os
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import atomic
from sparse_ortho.errors import DiskError, UserError, disk_errors
from sparse_ortho.store import FACTS, TENSORS, UNREADABLE, Store, key_of_facts, read_entry


def entries(store: Store) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(stage, key, facts) of everything in the store; what cannot be read is passed over, a stage will discard it."""
    for path in sorted(store.root.glob(f"*/??/*/{FACTS}")):
        try:
            facts = json.loads(path.read_text())
            readable = isinstance(facts["about"]["cell"], str)
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue
        if readable:
            yield path.parents[2].name, path.parent.name, facts


def forget(store: Store, cell: str) -> int:
    """Drop every entry and checkpoint of the cells whose identity is, or begins with, `cell`; how many there were."""
    found = [(stage, key) for stage, key, facts in entries(store) if cell and facts["about"]["cell"].startswith(cell)]
    if not found:
        known = sorted({facts["about"]["cell"] for _, _, facts in entries(store)}) or ["(the store is empty)"]
        near = difflib.get_close_matches(cell, known, n=8, cutoff=0.3) or known[:8]
        raise UserError("cell", "nothing in the store has that identity", found=cell, allowed=near)
    for stage, key in found:
        shutil.rmtree(store.path(stage, key))
        shutil.rmtree(store.scratch(stage, key), ignore_errors=True)
    return len(found)


def collect(store: Store, planned: Callable[[str, str], bool], delete: bool) -> list[Path]:
    """Entries of cells that no study plans any more, and leftovers of crashes; deleted only when asked."""
    doomed = [
        store.path(stage, key) for stage, key, facts in entries(store) if not planned(stage, facts["about"]["cell"])
    ]
    doomed += sorted((store.root / "aside").glob("*"))
    if delete:
        for path in doomed:
            shutil.rmtree(path, ignore_errors=True)
    return doomed


def size(store: Store) -> dict[str, tuple[int, int]]:
    """Stage -> (entries, bytes)."""
    found: dict[str, tuple[int, int]] = {}
    for stage, key, _ in entries(store):
        count, total = found.get(stage, (0, 0))
        files = store.path(stage, key).iterdir()
        found[stage] = (count + 1, total + sum(file.stat().st_size for file in files))
    return found


Wanted = Callable[[str, Mapping[str, Any]], bool]  # of a stage and what is kept beside a result


def export(store: Store, archive: Path, wanted: Wanted = lambda stage, about: True) -> int:
    """The wanted entries as one tar file, in a fixed order with fixed times: equal entries, equal archives."""
    count = 0
    with atomic(archive) as temporary, tarfile.open(temporary, "w") as tar:
        for stage, key, facts in entries(store):
            if not wanted(stage, facts["about"]):
                continue
            for name in (FACTS, TENSORS):
                path = store.path(stage, key) / name
                if path.is_file():
                    info = tarfile.TarInfo(f"{stage}/{key}/{name}")
                    info.size = path.stat().st_size
                    with open(path, "rb") as file:
                        tar.addfile(info, file)
            count += 1
    return count


def take_in(store: Store, archive: Path) -> tuple[int, int]:
    """Entries of an exported archive that we lack, each verified before it is kept: (taken, refused).

    An entry must match its digests, and its name must be the key of what it says made it: nobody can pass one result
    off as another's. The archive is read through once before anything is written; then an entry of it lies aside until
    it is verified.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                _place(archive, member)
            assert tar.fileobj  # a damaged header in the middle looks like the end to tarfile
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it is damaged or cut short")
        with _aside(store) as aside, tarfile.open(archive) as tar:
            found = _unpack(store, archive, tar, aside)
            results = [_keep(store, stage, key, aside / stage / key) for stage, key in found]
    except FileNotFoundError:
        raise UserError(str(archive), "no such file") from None
    except DiskError:
        raise
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise UserError(str(archive), f"is not a readable archive ({error})") from None
    return results.count(True), results.count(False)


def _place(archive: Path, member: tarfile.TarInfo) -> tuple[str, str, str]:
    """(stage, key, file) of a member, which must be a file of an entry and nothing else."""
    parts = member.name.split("/")
    if not member.isfile() or len(parts) != 3 or parts[2] not in (FACTS, TENSORS) or not _plain(parts[0], parts[1]):
        raise UserError(str(archive), "holds something that is no entry of a store", found=member.name)
    return parts[0], parts[1], parts[2]


def _plain(stage: str, key: str) -> bool:
    return stage.isidentifier() and len(key) == 64 and set(key) <= set("0123456789abcdef")


@contextmanager
def _aside(store: Store) -> Iterator[Path]:
    """A folder on the store's disk that is gone afterwards."""
    folder = store.root / "aside" / f"import.{os.getpid()}.{secrets.token_hex(4)}"
    with disk_errors(store.root):
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _unpack(store: Store, archive: Path, tar: tarfile.TarFile, aside: Path) -> list[tuple[str, str]]:
    """What the store lacks, under `aside`."""
    found: dict[tuple[str, str], None] = {}
    for member in tar:
        stage, key, name = _place(archive, member)
        file = tar.extractfile(member)
        if file is None or store.path(stage, key).exists():
            continue
        found[stage, key] = None
        (aside / stage / key).mkdir(parents=True, exist_ok=True)
        with open(aside / stage / key / name, "wb") as copy:
            shutil.copyfileobj(file, copy)
    return list(found)


def _keep(store: Store, stage: str, key: str, folder: Path) -> bool | None:
    try:
        _, facts = read_entry(folder)
        if key_of_facts(stage, facts) != key:
            raise ValueError("it is not what its key says")
    except UNREADABLE as error:
        store.log("damaged", stage, key, reason=str(error))
        return False
    return store.adopt(stage, key, folder) or None


def orphans(results: Path, planned: Iterable[str]) -> list[Path]:
    """Artifacts under results/ that no planned job makes."""
    keep = {os.path.normpath(path) for path in planned}
    kinds = ("data", "masks", "inits", "tickets", "records", "curves", "measures", "benches", "tables", "figures")
    found = [path for kind in kinds for path in sorted((results / kind).rglob("*")) if path.is_file()]
    return [path for path in found if os.path.normpath(path) not in keep]
