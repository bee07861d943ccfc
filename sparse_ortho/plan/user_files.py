"""Data that only the user has: where config.yaml says it is, and whether it has changed since it was last read.

Files with a published digest cannot change unnoticed. A user's own folder or table can, so the job of its data set
holds a fingerprint: size and time of a file, or the times of a folder and the folders in it (a file that comes or goes
changes the time of its folder; stat of a million pictures would take a minute a call). A picture edited in place is
not seen: delete the artifact then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import digest_text
from sparse_ortho.errors import UserError
from sparse_ortho.plan.options import literal_of
from sparse_ortho.registry import resolve, table

VARIABLE = "SPARSE_ORTHO_PATHS"  # how the places reach the jobs: as a result's text they would trigger reruns
DEPTH = 2  # <place>/train/<class>


def places(paths: Mapping[str, str], root: Path) -> dict[str, str]:
    """Data set -> absolute place; a relative one starts at the checkout."""
    for name in paths:
        if name not in table("datasets"):
            raise UserError("config.yaml: paths", "unknown data set", found=name, allowed=table("datasets"))
    return {name: str(root / Path(place).expanduser()) for name, place in sorted(paths.items())}


def place_of(name: str, environ: Mapping[str, str]) -> str | None:
    """The place that a job was told."""
    return json.loads(environ.get(VARIABLE) or "{}").get(name)


def fingerprint(name: str, named: str | None) -> dict[str, Any]:
    """What a data job holds besides its specs: nothing for data whose digest is published."""
    sources = literal_of(resolve("datasets", name), "SOURCES", {})
    if not any(source.get("folder") for source in sources.values()):
        return {}
    folder = os.environ.get("SPARSE_ORTHO_DATA")
    place = Path(named) if named else Path(folder, name) if folder else None
    return {"files": digest_text("\n".join(_times(place, DEPTH))) if place and place.exists() else "absent"}


def _times(place: Path, depth: int) -> Iterator[str]:
    """A line for the place and for each folder in it, or for the files right in it (a table, say)."""
    found = place.stat()
    yield f"{place.name} {found.st_mtime_ns} {found.st_size if place.is_file() else ''}"
    if place.is_dir() and depth:
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            if entry.is_dir() or depth == DEPTH:
                yield from _times(Path(entry.path), depth - 1)
