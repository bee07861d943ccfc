"""One original data file: from the user's folder, from the cache, or from a mirror; verified wherever it is published.

A file in the user's folder is used where it is. A download goes into `<file>.part`, which a cut connection leaves
behind and the next attempt, of whatever mirror, continues; only a file of the right digest gets its name. The digest is
the SHA-256, or the MD5 where its authors published no other. Without a published size the mirror's own word is taken
for where to stop, never for whether the file is right.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import http.client
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from sparse_ortho.errors import DISK_ERRORS, UserError, disk_errors

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte
TEMPORARY = (OSError, http.client.HTTPException, ValueError)  # whatever a mirror does wrong: the next one is asked
NO_SUCH_RANGE = 416  # what was kept is as long as the file, or longer
KINDS = {"sha256": "SHA-256", "md5": "MD5"}


def fetch(name: str, source: Mapping[str, Any], folders: Iterable[Path | str], cache: Path | str) -> Path:
    """The path of file `name`, equal to what `source` says (sha256 or md5, bytes, mirrors). Folders are only read."""
    for folder in folders:
        path = Path(folder) / name
        if path.is_file():
            return verified(path, source)
    if not source.get("mirrors"):
        raise UserError(
            name,
            "cannot be downloaded; name its place in config.yaml, or set SPARSE_ORTHO_DATA to the folder that holds it",
        )
    target = Path(cache) / name
    if right(target, source):
        return target
    with disk_errors(target), locked(target):
        if not right(target, source):  # another process may have been faster
            download(target, source)
    return target


def verified(path: Path, source: Mapping[str, Any]) -> Path:
    """`path` itself, if its bytes, or those packed in it, are the original ones, or none were published."""
    kind, expected = digest_of(source)
    if not kind or (found := digest(path, kind)) == expected:
        return path
    if "unpacked" in source and digest_unpacked(path) == source["unpacked"]:
        return path
    raise UserError(str(path), f"has {KINDS[kind]} {found}, expected {expected}; remove or replace it")


def digest_of(source: Mapping[str, Any]) -> tuple[str, str]:
    """Which digest decides, and its value; empty where nobody published one."""
    return next(((kind, source[kind]) for kind in KINDS if kind in source), ("", ""))


def digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def right(path: Path, source: Mapping[str, Any]) -> bool:
    kind, expected = digest_of(source)
    return path.is_file() and digest(path, kind) == expected


def digest_unpacked(path: Path) -> str:
    try:
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error):
        return ""


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Two processes that share a cache download one after the other."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_name(f".{target.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def download(target: Path, source: Mapping[str, Any]) -> None:
    part = target.with_name(target.name + ".part")
    tried = []
    for mirror in source["mirrors"]:
        url = mirror + target.name
        for _ in range(2):  # the second time only when bytes left by an earlier attempt spoiled the file
            kept = part.stat().st_size if part.exists() else 0
            try:
                receive(url, part, source)
                os.replace(part, target)
                return
            except TEMPORARY as error:
                if isinstance(error, PermissionError) or getattr(error, "errno", None) in DISK_ERRORS:
                    raise  # our side's fault: no mirror would do better
                tried.append(f"{url}: {error or type(error).__name__}")
            if not kept or part.exists():
                break
    raise UserError(
        target.name,
        f"could not be downloaded ({'; '.join(tried)}); get it by other means and set SPARSE_ORTHO_DATA to its folder",
    )


def receive(url: str, part: Path, source: Mapping[str, Any]) -> None:
    """Complete `part` from `url`. Of a failure it keeps what can be continued, and nothing that cannot be right."""
    size = source.get("bytes")
    start = part.stat().st_size if part.exists() else 0
    if size is None and right(part, source):
        return
    if size is None or start < size:
        size = request(url, part, start, size)
    length = part.stat().st_size
    kind, expected = digest_of(source)
    found = digest(part, kind) if size is None or length <= size else "of too many bytes"
    if found == expected:
        return
    if size is not None and length < size:
        raise ValueError(f"ended after {length:,} of {size:,} bytes")
    part.unlink()
    raise ValueError(f"gave {KINDS[kind]} {found}, expected {expected}")


def request(url: str, part: Path, start: int, size: int | None) -> int | None:
    """Append to `part` what `url` has from byte `start` on; the whole file's size, as published or as announced."""
    asked = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(asked, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == NO_SUCH_RANGE:
            return start  # its digest tells which
        raise
    with response:
        if response.status != 206:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise ValueError(f"answered with another range than from {start}")
        announced = response.headers.get("Content-Length")
        if announced is not None and size is not None and int(announced) != size - start:
            raise ValueError(f"announced {int(announced):,} bytes where {size - start:,} were expected")
        if announced is not None:
            size = start + int(announced)
        with open(part, "ab" if start else "wb") as file:
            copy(response, file, None if size is None else size - start)
    return size


def copy(response: http.client.HTTPResponse, file: IO[bytes], most: int | None) -> None:
    """At most one byte more than `most`, which is enough to see that there are too many; all where it is unknown."""
    left = float("inf") if most is None else most
    while left >= 0 and (chunk := response.read(int(min(CHUNK, left + 1)))):
        file.write(chunk)
        left -= len(chunk)
