"""Tiny-ImageNet (Stanford CS231n): 64 x 64 colour JPEGs, 500 a class to train, 50 a class in the official val/.

The labels are positions in wnids.txt, and `classes` takes the first of them. The official validation part, whose test
labels were never published, is the test part here, in the order of its classes; training pictures come in one fixed
permutation, so that the last tenth is a fair validation part. Mean and std are 0.5, as EOI has them. The archive is
read where it is: only the digest of the original is published, so another archive needs a source of its own below.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from sparse_ortho.data import archives
from sparse_ortho.data.class_folders import Pictures, is_picture, load, names_in
from sparse_ortho.data.parts import Arrays, Fetch
from sparse_ortho.errors import UserError
from sparse_ortho.streams import stream

FACTS = {
    "shape": (3, 64, 64),
    "classes": "classes",
    "train": 100000,
    "test": 10000,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "scale": 255.0,
    "version": "2015, tiny-imagenet-200.zip",
    "licence": "ImageNet's terms of access: research and education, not commercial",
}
SOURCES = {
    "tiny-imagenet-200.zip": {
        "md5": "90528d7ca1a48142e341f4ef8d21d0de",  # no SHA-256 was published
        "bytes": 248100043,
        "mirrors": ("http://cs231n.stanford.edu/",),
    },
    # The first twenty classes of wnids.txt in the same layout, for tests and quick runs; nobody serves it.
    "tiny-imagenet-20.zip": {
        "sha256": "b2e252b4af0b67ea5bad1143a5ff897808fced0545d72cb73e288cae9e71ff1f",
        "bytes": 22508436,
    },
}


def tiny_imagenet(
    fetch: Fetch,
    *,
    classes: int = 200,
    archive: Literal["tiny-imagenet-200.zip", "tiny-imagenet-20.zip"] = "tiny-imagenet-200.zip",
) -> Arrays:
    """Images, labels and the number of training images, which come first."""
    if archive not in SOURCES:
        raise UserError("data.archive", "is no archive of tiny_imagenet", found=archive, allowed=SOURCES)
    pictures = listed(fetch(archive), classes)
    return load(pictures, *FACTS["shape"][:2]), pictures.labels, pictures.n_train


def listed(place: Path, classes: int) -> Pictures:
    """The pictures of the first `classes` classes of an archive in this layout."""
    names = names_in(place)
    top = next((name[: -len("wnids.txt")] for name in names if re.fullmatch(r"([^/]+/)?wnids\.txt", name)), None)
    if top is None:
        raise UserError(str(place), "is no Tiny-ImageNet archive: it holds no wnids.txt")
    known = _text(place, top + "wnids.txt").split()
    if not 2 <= classes <= len(known):
        raise UserError("data.classes", f"{place} cannot give as many", found=classes, allowed=f"2 to {len(known)}")
    label = {wnid: row for row, wnid in enumerate(known[:classes])}
    train = [(name, wnid) for name in names if (wnid := _class_of(name, top + "train/")) in label]
    train = [train[row] for row in stream(0, "split", "tiny_imagenet").permutation(len(train))]
    test = _official(place, top + "val/", set(names))
    test = sorted((pair for pair in test if pair[1] in label), key=lambda pair: (label[pair[1]], pair[0]))
    for part, pairs in (("train", train), ("val", test)):
        if lacking := sorted(label.keys() - {wnid for _, wnid in pairs}):
            raise UserError(f"{place}: {part}", f"has no pictures of {', '.join(lacking)}")
    labels = np.array([label[wnid] for _, wnid in train + test], dtype=np.int64)
    return Pictures(place, [name for name, _ in train + test], labels, known[:classes], len(train), 0)


def _class_of(name: str, folder: str) -> str:
    return name.removeprefix(folder).split("/")[0] if name.startswith(folder) and is_picture(name) else ""


def _official(place: Path, folder: str, names: set[str]) -> list[tuple[str, str]]:
    """(picture, class) as val_annotations.txt pairs them: one picture a line, its class second."""
    found = []
    for number, line in enumerate(_text(place, folder + "val_annotations.txt").splitlines(), 1):
        words = line.split("\t")
        name = f"{folder}images/{words[0]}"
        if len(words) < 2 or name not in names:
            where = f"{place}: {folder}val_annotations.txt, line {number}"
            raise UserError(where, "names no picture of the archive and its class", found=line)
        found.append((name, words[1]))
    return found


def _text(place: Path, name: str) -> str:
    for _, data in archives.members(place, lambda member: member == name):
        return data.decode("utf-8", "replace")
    raise UserError(str(place), f"is no Tiny-ImageNet archive: it holds no {name}")
