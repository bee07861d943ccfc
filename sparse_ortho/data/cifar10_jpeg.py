"""CIFAR-10 (Krizhevsky 2009) with every image re-encoded as JPEG: the same pictures, slightly lossy.

Not from a paper: a stand-in where the original cannot be had. It is a data set of its own, so its results never pass
for those of `cifar10`. Pictures are in class folders, train/<class>/0000.jpg, which lost the original order, so the
training images come in one fixed permutation. They are normalised as the original. Nobody serves the archive.
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.data.parts import Fetch
from sparse_ortho.data.small_pictures import decoded, published

FACTS = {
    "shape": (3, 32, 32),
    "classes": 10,
    "train": 50000,
    "test": 10000,
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2023, 0.1994, 0.2010),
    "scale": 255.0,
    "version": "2009, re-encoded as JPEG",
    "licence": "none stated; cite Krizhevsky 2009",
}
SOURCES = {
    "cifar10-jpeg.tar.xz": {
        "sha256": "71553fd8887c10f8525a5ba94c7d749af24779e63e841892b3eb783db0f2dfe8",
        "bytes": 18547136,
        "mirrors": (),
    },
}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10_jpeg(fetch: Fetch) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, labels and the number of training images, which come first."""
    pictures = published(fetch("cifar10-jpeg.tar.xz"), "cifar10_jpeg", FACTS, CLASSES)
    return decoded(pictures, FACTS["shape"]), pictures.labels, pictures.n_train
