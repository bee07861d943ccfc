"""What the function of a data set is given, and what it returns, besides plain arrays.

`fetch(file)` is the path of one of the module's SOURCES, verified. A source is a literal:

    {"sha256" or "md5", "unpacked", "bytes", "mirrors"}   each optional; without mirrors only the user can supply it
    {"own_folder": True, ...}   other data sets use its name: not looked for among the files of all data sets
    {"folder": True}            a folder of the user's; "." is the data set's own, or the file named in place of it

Each digest is one that the authors or a widely used library published, `unpacked` the SHA-256 of what is gzipped.

The function returns (images, labels, n_train), or (images, labels, n_train, n_validation) where the data set has an
official validation part, or a `Streamed`. The order is train, validation, test. Images are uint8 (N, C, H, W), or
float32 (N, F) for tables, whose scale is 1.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Fetch = Callable[[str], Path]
Arrays = tuple[np.ndarray, np.ndarray, int] | tuple[np.ndarray, np.ndarray, int, int]


@dataclass(frozen=True)
class Streamed:
    """A data set too large for memory: `files` under `root`, in the order train, validation, test, decoded by batch."""

    root: Path
    files: list[str]
    labels: np.ndarray
    n_train: int
    n_validation: int = 0
