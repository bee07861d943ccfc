"""MNIST (LeCun et al. 1998) from its four original files: 28 x 28 digits, gzipped IDX."""

from __future__ import annotations

import numpy as np

from sparse_ortho.data.idx import four_files
from sparse_ortho.data.parts import Fetch

FACTS = {
    "shape": (1, 28, 28),
    "classes": 10,
    "train": 60000,
    "test": 10000,
    "mean": (0.1307,),
    "std": (0.3081,),
    "scale": 255.0,
    "version": "1998, the four original files",
    "licence": "CC BY-SA 3.0",
}
# `sha256` and `bytes` are those of the files as the mirrors serve them, `unpacked` the SHA-256 of what is inside:
# copies that somebody packed again are common (other gzip bytes, same images) and are accepted from a folder.
SOURCES = {
    "train-images-idx3-ubyte.gz": {
        "sha256": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "unpacked": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "bytes": 9912422,
        "mirrors": (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
    },
    "train-labels-idx1-ubyte.gz": {
        "sha256": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "unpacked": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "bytes": 28881,
        "mirrors": (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
    },
    "t10k-images-idx3-ubyte.gz": {
        "sha256": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "unpacked": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "bytes": 1648877,
        "mirrors": (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
    },
    "t10k-labels-idx1-ubyte.gz": {
        "sha256": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "unpacked": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "bytes": 4542,
        "mirrors": (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
    },
}


def mnist(fetch: Fetch) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, labels and the number of training images, which come first."""
    return four_files(fetch, FACTS)
