"""Images and labels from an archive of the CIFAR binary version (Krizhevsky 2009), read without unpacking it.

Format: records of one label byte (CIFAR-10) or two (CIFAR-100: coarse, then fine) and 3072 pixels, red, green, blue
planes of 32 x 32 in row order. The Python version holds the same images in the same order, but as pickles, which run
what they like when they are read; so it is not supported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sparse_ortho.data.archives import members
from sparse_ortho.errors import UserError

SHAPE = (3, 32, 32)
PIXELS = 3072


def read_records(path: Path, files: Sequence[str], n: int, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n` images of the archive's `files`, in that order, and the last label byte of each (the finest)."""
    found = dict(members(path, lambda name: name in files))
    for file in files:
        if file not in found:
            raise UserError(str(path), f"holds no {file}")
    content = b"".join(found[file] for file in files)
    if len(content) != n * (label_bytes + PIXELS):
        size = label_bytes + PIXELS
        raise UserError(
            str(path), f"should hold {n:,} records of {size} bytes in {', '.join(files)}", found=len(content)
        )
    records = np.frombuffer(content, np.uint8).reshape(n, label_bytes + PIXELS)
    return records[:, label_bytes:].reshape(n, *SHAPE), records[:, label_bytes - 1].astype(np.int64)
