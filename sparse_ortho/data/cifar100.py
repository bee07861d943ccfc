"""CIFAR-100 (Krizhevsky 2009): 32 x 32 colour photographs in a hundred fine classes, from the binary version.

The twenty coarse labels are not used. Mean and deviation are those of the reproduced papers. Digest and size are those
that TensorFlow Datasets publishes.
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.data.cifar import read_records
from sparse_ortho.data.parts import Fetch

FACTS = {
    "shape": (3, 32, 32),
    "classes": 100,
    "train": 50000,
    "test": 10000,
    "mean": (0.5071, 0.4865, 0.4409),
    "std": (0.2673, 0.2564, 0.2762),
    "scale": 255.0,
    "version": "2009, binary version, fine labels",
    "licence": "none stated; cite Krizhevsky 2009",
}
SOURCES = {
    "cifar-100-binary.tar.gz": {
        "sha256": "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        "bytes": 168513733,
        "mirrors": ("https://www.cs.toronto.edu/~kriz/",),
    },
}
FOLDER = "cifar-100-binary"


def cifar100(fetch: Fetch) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, fine labels and the number of training images, which come first."""
    n = FACTS["train"] + FACTS["test"]
    files = [f"{FOLDER}/train.bin", f"{FOLDER}/test.bin"]
    return *read_records(fetch("cifar-100-binary.tar.gz"), files, n, label_bytes=2), FACTS["train"]
