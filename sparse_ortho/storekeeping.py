"""Keeping house in the store: what it holds, forgetting, collecting garbage, sharing. No stage imports this."""

from __future__ import annotations

import difflib
import json
import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import atomic
from sparse_ortho.errors import UserError
from sparse_ortho.store import FACTS, TENSORS, Store


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


def export(store: Store, archive: Path) -> int:
    """All entries as one tar file, in a fixed order with fixed times: equal stores, equal archives."""
    count = 0
    with atomic(archive) as temporary, tarfile.open(temporary, "w") as tar:
        for stage, key, _ in entries(store):
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
    """Entries of an exported archive that we lack, each verified before it is kept: (taken, refused)."""
    found: dict[tuple[str, str], dict[str, bytes]] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                parts = member.name.split("/")
                file = tar.extractfile(member) if member.isfile() and len(parts) == 3 else None
                if file is None or parts[2] not in (FACTS, TENSORS) or not _plain(parts[0], parts[1]):
                    raise UserError(str(archive), "holds something that is no entry of a store", found=member.name)
                found.setdefault((parts[0], parts[1]), {})[parts[2]] = file.read()
            assert tar.fileobj  # a damaged header in the middle looks like the end to tarfile
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it is damaged or cut short")
    except FileNotFoundError:
        raise UserError(str(archive), "no such file") from None
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise UserError(str(archive), f"is not a readable archive ({error})") from None
    results = [_keep(store, stage, key, files) for (stage, key), files in found.items()]
    return results.count(True), results.count(False)


def _plain(stage: str, key: str) -> bool:
    return stage.isidentifier() and len(key) == 64 and set(key) <= set("0123456789abcdef")


def _keep(store: Store, stage: str, key: str, files: dict[str, bytes]) -> bool | None:
    folder = store.path(stage, key)
    if folder.exists():
        return None
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return store.get(stage, key) is not None  # reading verifies, and discards what is damaged


def orphans(results: Path, planned: Iterable[str]) -> list[Path]:
    """Artifacts under results/ that no planned job makes."""
    keep = {os.path.normpath(path) for path in planned}
    kinds = ("data", "masks", "inits", "records", "curves", "measures", "tables", "figures")
    found = [path for kind in kinds for path in sorted((results / kind).rglob("*")) if path.is_file()]
    return [path for path in found if os.path.normpath(path) not in keep]
