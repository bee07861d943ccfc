"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 28 x 28 grey pictures of clothes, in the form of MNIST.

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
    "mean": (0.2860,),
    "std": (0.3530,),
    "scale": 255.0,
    "version": "2017, the four original files",
    "licence": "MIT",
}
# MNIST has files of these names too, so they are only looked for in a folder of their own.
SOURCES = {
    "train-images-idx3-ubyte.gz": {
        "sha256": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "bytes": 26421880,
        "own_folder": True,
        "mirrors": (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
    },
    "train-labels-idx1-ubyte.gz": {
        "sha256": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bytes": 29515,
        "own_folder": True,
        "mirrors": (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
    },
    "t10k-images-idx3-ubyte.gz": {
        "sha256": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "bytes": 4422102,
        "own_folder": True,
        "mirrors": (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
    },
    "t10k-labels-idx1-ubyte.gz": {
        "sha256": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "bytes": 5148,
        "own_folder": True,
        "mirrors": (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
    },
}


def fashion_mnist(fetch: Fetch) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, labels and the number of training images, which come first."""
    return four_files(fetch, FACTS)
