"""ImageNet (ILSVRC 2012): the user's folder train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, streamed, nothing is decoded.

The official validation part, 50 pictures a class, is the test part; the labels of the official test part were never
published. Training pictures come in one fixed permutation, so that the last share of them is a fair validation part.
ImageNet must not be handed on, so nothing is downloaded; val/ as it is distributed, flat, has to be sorted into class
folders. Mean and std are the usual ones. `classes` other than 1,000 is a subset that the user has made.
"""

from __future__ import annotations

from sparse_ortho.data.class_folders import pictures_of
from sparse_ortho.data.parts import Fetch, Streamed
from sparse_ortho.errors import UserError

FACTS = {
    "shape": (3, "size", "size"),
    "classes": "classes",
    "train": 1281167,
    "test": 50000,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "scale": 255.0,
    "version": "ILSVRC 2012",
    "licence": "ImageNet's terms of access: research and education, not commercial",
}
SOURCES = {".": {"folder": True}}


def imagenet(fetch: Fetch, *, classes: int = 1000, size: int = 224) -> Streamed:
    """The names of the pictures, their labels and the number of training pictures, which come first."""
    if size < 1:
        raise UserError("data.size", "must be at least 1", found=size)
    place = fetch(".")
    if not place.is_dir():
        raise UserError(str(place), "ImageNet is streamed from a folder: unpack it to train/<wnid>/ and val/<wnid>/")
    pictures = pictures_of(place, "imagenet")
    if classes != len(pictures.classes):
        raise UserError("data.classes", f"{place}/train has {len(pictures.classes)} class folders", found=classes)
    return Streamed(place, pictures.names, pictures.labels, pictures.n_train, pictures.n_validation)
