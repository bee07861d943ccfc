"""Pictures in class folders, as torchvision's ImageFolder reads them: <part>/<class>/.../<picture>.

Parts are train, val or valid, and test, at the top of a folder or an archive (tar or zip), or one folder below. The
classes are the folders of train/, sorted by name. With both val/ and test/, val/ is the validation part; the only one
of them that is there is the test part, and the validation part is then split off the training pictures. What is not
from torchvision: a picture outside a class folder, a class without pictures and a class that train/ lacks are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from sparse_ortho.data import archives
from sparse_ortho.data.pictures import decode_square
from sparse_ortho.errors import UserError
from sparse_ortho.streams import stream

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
TOP = re.compile(r"([^/]+/)??train/")
FOLDERS = {"train": "train", "val": "validation", "valid": "validation", "test": "test"}


@dataclass(frozen=True)
class Pictures:
    """Names of pictures relative to `place`, in the order train, validation, test."""

    place: Path
    names: list[str]
    labels: np.ndarray  # of the names: positions in `classes`
    classes: list[str]
    n_train: int
    n_validation: int


def pictures_of(place: Path, name: str) -> Pictures:
    """Everything there is. Training pictures come in one fixed permutation, so that any share of them is a fair one."""
    parts = _parts(place, names_in(place))
    classes = sorted(parts.get("train", ()))
    if not classes:
        raise UserError(str(place), "holds no pictures in train/<class>/")
    if len(classes) == 1:
        raise UserError(f"{place}: train", "has a single class, so there is nothing to tell apart", found=classes[0])
    for part, found in parts.items():
        for label in sorted(found):
            if label not in classes:
                raise UserError(f"{place}: {part}", "has a class that train/ lacks", found=label, allowed=classes)
            if not found[label]:
                raise UserError(f"{place}: {part}/{label}", "is a class folder without pictures")
    if "test" not in parts and "validation" not in parts:
        raise UserError(str(place), "holds no test pictures", allowed="test/ or val/ beside train/")
    train = _listed(parts["train"], classes)
    train = [train[row] for row in stream(0, "split", name).permutation(len(train))]
    test = _listed(parts.get("test") or parts["validation"], classes)
    validation = _listed(parts["validation"], classes) if {"test", "validation"} <= parts.keys() else []
    every = train + validation + test
    labels = np.array([label for _, label in every], dtype=np.int64)
    return Pictures(place, [file for file, _ in every], labels, classes, len(train), len(validation))


def names_in(place: Path) -> list[str]:
    """The files in a folder or an archive, as relative names with forward slashes; empty folders end in a slash."""
    found: list[str] = []
    if place.is_dir():
        found = list(_walk(place))
    else:
        for _ in archives.members(place, lambda name: bool(found.append(name))):
            pass  # no content is wanted, only the names
    found.sort()
    for name, following in zip(found, [*found[1:], ""], strict=True):
        if name == following:
            raise UserError(str(place), f"has the member {name!r} twice")
        if not _is_one_line(name):  # a streamed set keeps its names as lines of UTF-8
            raise UserError(str(place), "has a file whose name is not one line of UTF-8", found=name)
    return found


def is_picture(name: str) -> bool:
    """By its ending; what a Mac leaves beside pictures (._name.jpg) is none."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def contents(place: Path, rows: Mapping[str, int]) -> Iterator[tuple[int, str, bytes]]:
    """(row, where, bytes) of the named files, in whatever order they are fastest to read."""
    if place.is_dir():
        for name, row in rows.items():
            try:
                yield row, str(place / name), (place / name).read_bytes()
            except OSError as error:
                raise UserError(str(place / name), f"cannot be read ({error.strerror})") from None
    else:
        for name, data in archives.members(place, lambda name: name in rows):
            yield rows[name], f"{place}: {name}", data


def load(pictures: Pictures, channels: int, size: int) -> np.ndarray:
    """All of them as one array (N, channels, size, size), decoded into place: there is never a second copy."""
    images = np.empty((len(pictures.names), channels, size, size), dtype=np.uint8)
    rows = {name: row for row, name in enumerate(pictures.names)}
    for row, where, data in contents(pictures.place, rows):
        images[row] = decode_square(data, channels, size, where)
    return images


def _walk(place: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise UserError(str(error.filename), f"cannot be read ({error.strerror})")

    for folder, inner, files in os.walk(place, onerror=refuse, followlinks=True):
        start = "" if Path(folder) == place else Path(folder).relative_to(place).as_posix() + "/"
        yield from (start + file for file in files)
        if start and not inner and not files:
            yield start


def _parts(place: Path, names: list[str]) -> dict[str, dict[str, list[str]]]:
    """part -> class -> pictures, and the classes without any."""
    top = _top(place, names)
    parts: dict[str, dict[str, list[str]]] = {}
    used: dict[str, str] = {}
    for name in names:
        folder, *inner = name.removeprefix(top).split("/")
        if not name.startswith(top) or not inner or folder not in FOLDERS:
            continue
        part = FOLDERS[folder]
        if used.setdefault(part, folder) != folder:
            raise UserError(str(place), f"holds both {used[part]}/ and {folder}/; which is the validation part?")
        picture = is_picture(name)
        if len(inner) > 1:
            parts.setdefault(part, {}).setdefault(inner[0], []).extend([name] if picture else [])
        elif picture:
            raise UserError(f"{place}: {name}", "is in no class folder", allowed=f"{folder}/<class>/{inner[0]}")
    return parts


def _top(place: Path, names: list[str]) -> str:
    """What stands before train/: nothing, or the one folder that an archive is often packed with."""
    tops = {found[1] or "" for name in names if (found := TOP.match(name))}
    if "" in tops:  # a folder train/ further down is a class of that name
        return ""
    if len(tops) != 1:
        problem = "holds several folders train/" if tops else "holds no pictures in train/<class>/"
        found = sorted(tops) or sorted({name.split("/")[0] for name in names})[:5]
        raise UserError(str(place), problem, found=found, allowed="train/<class>/<picture> and test/ or val/ beside it")
    return tops.pop()


def _listed(found: Mapping[str, list[str]], classes: list[str]) -> list[tuple[str, int]]:
    return [(name, label) for label, word in enumerate(classes) for name in sorted(found.get(word, ()))]


def _is_one_line(name: str) -> bool:
    return "\n" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)  # stand-ins for odd bytes
