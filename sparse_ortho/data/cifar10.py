"""CIFAR-10 (Krizhevsky 2009): 32 x 32 colour photographs in ten classes, from the binary version.

The standard deviations are those that the reproduced papers normalise with: the mean of the deviations within single
images. Over all pixels they are 0.247, 0.243 and 0.262. Digest and size are those that TensorFlow Datasets publishes.
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.data.cifar import read_records
from sparse_ortho.data.parts import Fetch

FACTS = {
    "shape": (3, 32, 32),
    "classes": 10,
    "train": 50000,
    "test": 10000,
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2023, 0.1994, 0.2010),
    "scale": 255.0,
    "version": "2009, binary version",
    "licence": "none stated; cite Krizhevsky 2009",
}
SOURCES = {
    "cifar-10-binary.tar.gz": {
        "sha256": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        "bytes": 170052171,
        "mirrors": (
            "https://www.cs.toronto.edu/~kriz/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        ),
    },
}
FOLDER = "cifar-10-batches-bin"


def cifar10(fetch: Fetch) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, labels and the number of training images, which come first."""
    files = [*(f"{FOLDER}/data_batch_{batch}.bin" for batch in range(1, 6)), f"{FOLDER}/test_batch.bin"]
    n = FACTS["train"] + FACTS["test"]
    return *read_records(fetch("cifar-10-binary.tar.gz"), files, n, label_bytes=1), FACTS["train"]
