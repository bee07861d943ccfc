"""Where the files of a data set are: the place that the user named for it, the folder of all data, or a download.

A named place (a folder, or the data set's only file) is the whole truth: what is missing there is an error and never
downloaded. In the folder of all data (SPARSE_ORTHO_DATA) files lie in `<name>/` or side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparse_ortho.data import sources
from sparse_ortho.data.parts import Fetch
from sparse_ortho.errors import UserError


def fetcher(
    name: str, files: Mapping[str, Mapping[str, Any]], place: Path | str | None, folder: str | None, cache: Path | str
) -> Fetch:
    """`fetch(file)` of data set `name`, whose SOURCES are `files`."""
    if folder and not Path(folder).is_dir():
        raise UserError("SPARSE_ORTHO_DATA", "is no folder", found=folder)
    named = Path(place).expanduser() if place else None
    if named and not named.exists():
        raise UserError(str(named), f"does not exist, but is named as the place of data set {name}")

    def fetch(file: str) -> Path:
        source = files[file]
        own = [named] if named else [Path(folder) / name] if folder else []
        if source.get("folder"):
            return _folder(name, file, own)
        if named:
            return sources.verified(_file(name, file, files, named), source)
        # the same file name in other data sets' folders would be a wrong file, not this one
        shared = [Path(folder)] if folder and not source.get("own_folder") else []
        return sources.fetch(file, source, own + shared, Path(cache) / name)

    return fetch


def _file(name: str, file: str, files: Mapping[str, Any], place: Path) -> Path:
    if place.is_file():
        if place.name == file or len(files) == 1:
            return place
        raise UserError(str(place), f"is one file, but data set {name} has several: name the folder that holds {file}")
    if not (place / file).is_file():
        raise UserError(str(place), f"is named as the place of data set {name}, but holds no {file}")
    return place / file


def _folder(name: str, file: str, own: list[Path]) -> Path:
    for place in own:
        if file == "." and place.is_file():  # named by the user: an archive or a table in place of the folder
            return place
        if (place / file).is_dir():
            return place / file
    wanted = f"a folder {file} of" if file != "." else "a folder for"
    looked = f"(looked for {own[0] / file}); " if own else ""
    raise UserError(
        f"data set {name}",
        f"needs {wanted} your own files, which nobody serves {looked}name its place in config.yaml "
        f"(paths: {{{name}: ...}}), or set SPARSE_ORTHO_DATA to the folder that holds {name}/",
    )
