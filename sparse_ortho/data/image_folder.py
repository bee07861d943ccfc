"""A picture data set of the user's: train/<class>/, and val/ or valid/ and test/ beside it, in a folder, tar or zip.

No paper: the layout is that of torchvision's ImageFolder (see class_folders.py). Each picture is scaled to `size` on
its shorter side and cropped to its middle. `mean` and `std`, one or one a channel, are those of pixels from 0 to 1; 0.5
maps them to [-1, 1]. `streamed` leaves the pictures where they are and decodes them batch by batch.
"""

from __future__ import annotations

from typing import Literal

from sparse_ortho.data.class_folders import load, pictures_of
from sparse_ortho.data.parts import Arrays, Fetch, Streamed
from sparse_ortho.errors import UserError

FACTS = {
    "shape": ("channels", "size", "size"),
    "classes": "classes",
    "train": None,  # known when the pictures are there
    "test": None,
    "mean": "mean",
    "std": "std",
    "scale": 255.0,
    "version": "the user's own",
    "licence": "the user's own",
}
SOURCES = {".": {"folder": True}}
LARGEST = 8 << 30  # bytes that are decoded into one array; all of Tiny-ImageNet takes 1.4e9


def image_folder(
    fetch: Fetch,
    *,
    classes: int = 10,
    size: int = 32,
    channels: Literal[1, 3] = 3,
    mean: tuple[float, ...] = (0.5,),
    std: tuple[float, ...] = (0.5,),
    streamed: bool = False,
) -> Arrays | Streamed:
    """Images, labels and the sizes of the training and validation parts."""
    if size < 1:
        raise UserError("data.size", "must be at least 1", found=size)
    if channels not in (1, 3):
        raise UserError("data.channels", "a picture is grey or has three colours", found=channels, allowed="1, 3")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels) or (name == "std" and min(values) <= 0):
            rule = f"1 or {channels} numbers" + (" above 0" if name == "std" else "")
            raise UserError(f"data.{name}", "does not fit the channels", found=tuple(values), allowed=rule)
    place = fetch(".")
    if streamed and not place.is_dir():
        raise UserError("data.streamed", f"pictures are streamed from a folder, so unpack {place}")
    pictures = pictures_of(place, "image_folder")
    if classes != len(pictures.classes):
        raise UserError("data.classes", f"{place}/train has {len(pictures.classes)} class folders", found=classes)
    if streamed:
        return Streamed(place, pictures.names, pictures.labels, pictures.n_train, pictures.n_validation)
    if (needed := len(pictures.names) * channels * size**2) > LARGEST:
        raise UserError(str(place), f"takes {needed / 2**30:.1f} GiB when decoded; set data.streamed or a smaller size")
    images = load(pictures, channels, size)
    if pictures.n_validation:
        return images, pictures.labels, pictures.n_train, pictures.n_validation
    return images, pictures.labels, pictures.n_train
