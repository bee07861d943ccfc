"""Images and labels from four gzipped IDX files, as MNIST and those that took its form have them.

Format: IDX, big-endian 00 00 08 <rank>, one uint32 a dimension, then bytes.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparse_ortho.data.parts import Fetch
from sparse_ortho.errors import UserError


def four_files(fetch: Fetch, facts: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, labels and the number of training images, which come first; counts and size are those of `facts`."""
    height, width = facts["shape"][1:]
    parts = [("train", facts["train"]), ("t10k", facts["test"])]
    images = [read_idx(fetch(f"{part}-images-idx3-ubyte.gz"), (n, height, width)) for part, n in parts]
    labels = [read_idx(fetch(f"{part}-labels-idx1-ubyte.gz"), (n,)) for part, n in parts]
    return np.concatenate(images)[:, None], np.concatenate(labels).astype(np.int64), facts["train"]


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a gzipped IDX file of unsigned bytes, which must have exactly `shape`."""
    try:
        content = gzip.decompress(Path(path).read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(str(path), f"is not a complete gzip file ({error})") from None
    if content[:3] != b"\x00\x00\x08" or len(content) < 4:
        raise UserError(str(path), "is not an IDX file of unsigned bytes", found=content[:4].hex(), allowed="000008..")
    rank = content[3]
    found = tuple(int(n) for n in np.frombuffer(content[4 : 4 + 4 * rank].ljust(4 * rank, b"\0"), ">u4"))
    if found != shape:
        raise UserError(str(path), "has other dimensions than expected", found=found, allowed=str(shape))
    body = len(content) - 4 - 4 * rank
    if body != math.prod(shape):
        raise UserError(str(path), f"should hold {math.prod(shape):,} values", found=body)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
