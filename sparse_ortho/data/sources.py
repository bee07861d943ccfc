"""One original data file: from the user's folder, from the cache, or from a mirror; always verified.

A file in the user's folder is used where it is. A download goes into `<file>.part`, which a cut connection leaves
behind and the next attempt, of whatever mirror, continues; only a file of the right length and digest gets its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import http.client
import os
import urllib.request
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from sparse_ortho.artifacts import digest_file
from sparse_ortho.errors import DISK_ERRORS, UserError, disk_errors

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte
TEMPORARY = (OSError, http.client.HTTPException, ValueError)  # whatever a mirror does wrong: the next one is asked


def fetch(name: str, source: Mapping[str, Any], folders: Iterable[Path | str], cache: Path | str) -> Path:
    """The path of file `name`, equal to what `source` (sha256, bytes, mirrors) says. `folders` are never written to."""
    for folder in folders:
        path = Path(folder) / name
        if path.is_file():
            return verified(path, source)
    target = Path(cache) / name
    if target.is_file() and digest_file(target) == source["sha256"]:
        return target
    with disk_errors(target), locked(target):
        if not (target.is_file() and digest_file(target) == source["sha256"]):  # another process may have been faster
            download(target, source)
    return target


def verified(path: Path, source: Mapping[str, Any]) -> Path:
    """`path` itself, if its bytes, or those packed in it, are the original ones."""
    found = digest_file(path)
    if found != source["sha256"] and not ("unpacked" in source and digest_unpacked(path) == source["unpacked"]):
        raise UserError(str(path), f"has SHA-256 {found}, expected {source['sha256']}; remove or replace it")
    return path


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
    size = source["bytes"]
    start = part.stat().st_size if part.exists() else 0
    if start < size:
        request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            if response.status != 206:
                start = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise ValueError(f"answered with another range than from {start}")
            announced = response.headers.get("Content-Length")
            if announced is not None and int(announced) != size - start:
                raise ValueError(f"announced {int(announced):,} bytes where {size - start:,} were expected")
            with open(part, "ab" if start else "wb") as file:
                copy(response, file, size - start)
    if (length := part.stat().st_size) < size:
        raise ValueError(f"ended after {length:,} of {size:,} bytes")
    found = digest_file(part) if length == size else "of too many bytes"
    if found != source["sha256"]:
        part.unlink()
        raise ValueError(f"gave SHA-256 {found}, expected {source['sha256']}")


def copy(response: http.client.HTTPResponse, file: IO[bytes], most: int) -> None:
    """At most one byte more than `most`, which is enough to see that there are too many."""
    while most >= 0 and (chunk := response.read(min(CHUNK, most + 1))):
        file.write(chunk)
        most -= len(chunk)
