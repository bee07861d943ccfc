"""Kuzushiji-MNIST (Clanuwat et al. 2018): 28 x 28 cursive Japanese characters, in the form of MNIST.

Digests and sizes are those that TensorFlow Datasets publishes.
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.data.idx import four_files
from sparse_ortho.data.parts import Fetch

FACTS = {
    "shape": (1, 28, 28),
    "classes": 10,
    "train": 60000,
    "test": 10000,
    "mean": (0.1918,),
    "std": (0.3483,),
    "scale": 255.0,
    "version": "2018, the four original files",
    "licence": "CC BY-SA 4.0",
}
# MNIST has files of these names too, so they are only looked for in a folder of their own.
SOURCES = {
    "train-images-idx3-ubyte.gz": {
        "sha256": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "bytes": 18165135,
        "own_folder": True,
        "mirrors": (
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
    },
    "train-labels-idx1-ubyte.gz": {
        "sha256": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "bytes": 29497,
        "own_folder": True,
        "mirrors": (
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
    },
    "t10k-images-idx3-ubyte.gz": {
        "sha256": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "bytes": 3041136,
        "own_folder": True,
        "mirrors": (
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
    },
    "t10k-labels-idx1-ubyte.gz": {
        "sha256": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        "bytes": 5120,
        "own_folder": True,
        "mirrors": (
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
    },
}


def kmnist(fetch: Fetch) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, labels and the number of training images, which come first."""
    return four_files(fetch, FACTS)
