"""What is inside a tar (plain, gz, bz2, xz) or zip archive: read member by member, or unpacked as a whole.

No paper: the formats are POSIX pax/ustar and PKWARE zip. An archive from the internet is not trusted: a member whose
name is absolute or climbs with `..`, and whatever is neither file nor folder (links, devices), is refused by name.
Links are refused even when they stay inside: no data set that is read here has one.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from sparse_ortho.data.sources import locked
from sparse_ortho.errors import DISK_ERRORS, UserError, disk_errors

CHUNK = 1 << 20
PACKERS = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ\0": lzma.LZMAFile}
DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, NotImplementedError,
    RuntimeError, ValueError,
)  # fmt: skip


def members(
    path: Path | str, wanted: Callable[[str], bool] | None = None, content: IO[bytes] | None = None
) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every file in the archive `path`, in its order; only those whose name is `wanted`, if given.

    Names have forward slashes and no leading `./`. `content` is the opened archive, when it is not a file of its own
    (an archive in an archive); `path` then only names it in errors.
    """
    with opened(path, content) as file:
        start = file.read(6)
        file.seek(0)
        inside = _zip(path, file, wanted) if start.startswith(b"PK") else _tar(path, file, start, wanted)
        while True:
            try:
                member = next(inside, None)
            except UserError:
                raise
            except DAMAGE as error:
                if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                    raise
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UserError(str(path), f"is not a complete tar or zip archive ({reason})") from None
            if member is None:
                return
            yield member


def unpack(path: Path | str, folder: Path | str) -> Path:
    """`folder` with everything that is in the archive: all of it or, on any error, nothing.

    A folder that exists is complete and stays as it is, so its name should tell which archive it is from.
    """
    folder = Path(folder)
    if folder.is_dir():
        return folder
    with disk_errors(folder), locked(folder):
        if not folder.is_dir():  # another process may have been faster
            part = folder.with_name(folder.name + ".part")
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
            try:
                part.mkdir()
                for name, data in members(path):
                    _write(path, part, name, data)
                part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return folder


@contextlib.contextmanager
def opened(path: Path | str, content: IO[bytes] | None) -> Iterator[IO[bytes]]:
    if content is not None:
        yield content
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; the errors of whoever reads are not this one's)
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})") from None
    with file:
        yield file


def inside_name(path: Path | str, name: str) -> str:
    """A member's name as a path under the folder that it would be unpacked to, or a refusal."""
    parts = re.split(r"[\\/]", name)
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise UserError(str(path), f"has the member {name!r}, which leads out of the folder it is unpacked to")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _tar(
    path: Path | str, file: IO[bytes], start: bytes, wanted: Callable[[str], bool] | None
) -> Iterator[tuple[str, bytes]]:
    # tarfile's own decompression in streams takes a cut archive for a whole one; these modules do not
    packer = next((packer for magic, packer in PACKERS.items() if start.startswith(magic)), None)
    plain: Any = file if packer is None else gzip.GzipFile(fileobj=file) if packer is gzip.GzipFile else packer(file)
    with tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            name = inside_name(path, member.name)
            if not member.isfile() and not member.isdir():
                raise UserError(str(path), f"has the member {member.name!r}, which is neither a file nor a folder")
            if member.isfile() and (wanted is None or wanted(name)):
                data = tar.extractfile(member)
                assert data is not None  # for a file it never is
                yield name, data.read()
            tar.members = []  # type: ignore[attr-defined]  # it keeps every header it has seen, 60,000 of them in some archives
    while packer and plain.read(CHUNK):  # to the end, where the checksum is
        pass


def _zip(path: Path | str, file: IO[bytes], wanted: Callable[[str], bool] | None) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = inside_name(path, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was not made on Unix
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(str(path), f"has the member {member.filename!r}, which is neither a file nor a folder")
            if not member.is_dir() and (wanted is None or wanted(name)):
                yield name, archive.read(member)


def _write(path: Path | str, folder: Path, name: str, data: bytes) -> None:
    target = folder / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as file:
            file.write(data)
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno in DISK_ERRORS:
            raise
        raise UserError(str(path), f"has the member {name!r}, which cannot be written ({error.strerror})") from None
