"""A data set of published size that comes as pictures in class folders, decoded into one array.

Where `class_folders` takes whatever classes and counts it finds, here they are facts: anything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparse_ortho.data.class_folders import Pictures, contents, pictures_of
from sparse_ortho.data.pictures import decode
from sparse_ortho.errors import UserError


def published(place: Path, name: str, facts: Mapping[str, Any], classes: Sequence[str]) -> Pictures:
    """The pictures of an archive, which must have these classes and the counts of `facts`."""
    found = pictures_of(place, name)
    if found.classes != list(classes):
        raise UserError(str(place), "has other classes than expected", found=found.classes, allowed=classes)
    n_test = len(found.names) - found.n_train - found.n_validation
    counts = (found.n_train, found.n_validation, n_test)
    expected = (facts["train"], facts.get("validation", 0), facts["test"])
    if counts != expected:
        allowed = ", ".join(f"{n:,}" for n in expected)
        raise UserError(
            str(place), "has another number of train, validation and test pictures", found=counts, allowed=allowed
        )
    return found


def decoded(pictures: Pictures, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels (N, *shape) in the order of the names; every picture must have exactly this size."""
    images = np.empty((len(pictures.names), *shape), np.uint8)
    rows = {name: row for row, name in enumerate(pictures.names)}
    for row, where, data in contents(pictures.place, rows):
        pixels = decode(data, shape[0], where)
        if pixels.shape != tuple(shape):
            raise UserError(where, "has another size than expected", found=pixels.shape, allowed=str(tuple(shape)))
        images[row] = pixels
    return images
