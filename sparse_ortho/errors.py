"""Errors that a caller can cause: one clear sentence (where, found, allowed, nearest) and never a traceback."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class UserError(Exception):
    """A mistake of the caller's, told in one sentence.

    `where` is the key or path at fault, `problem` what is wrong with it; `found`, `allowed` and the nearest allowed
    name follow when they are known.
    """

    def __init__(self, where: str, problem: str = "", *, found: object = None, allowed: Iterable[object] | str = ()):
        self.where = where
        parts = [f"{where}: {problem}" if problem else f"{where}:"]
        if found is not None:
            parts.append(f"found {found!r}" if problem == "" else f"(found {found!r})")
        text = " ".join(parts)
        choices = [allowed] if isinstance(allowed, str) else [str(item) for item in allowed]
        if choices:
            text += f"; allowed: {', '.join(choices)}"
        if near := nearest(str(found), choices) if found is not None and not isinstance(allowed, str) else None:
            text += f"; did you mean {near!r}?"
        super().__init__(" ".join(text.split()))


class DiskError(UserError):
    """The disk is full or a folder cannot be written: nothing about a result, so never kept as one."""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The allowed name closest to `word`, or None when nothing is close."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return close[0] if close else None


@contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn a full disk, a quota or an unwritable folder under `path` into one sentence."""
    try:
        yield
    except PermissionError as error:
        raise DiskError(str(path), "cannot be written: permission denied") from error
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise DiskError(
            str(path),
            "cannot be written: no space left on the device; free some, or set SPARSE_ORTHO_STORE to another disk",
        ) from error
