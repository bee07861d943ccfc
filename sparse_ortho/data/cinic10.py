"""CINIC-10 (Darlow et al. 2018): CIFAR-10 and downscaled ImageNet, 3 x 90,000 colour images of 32 x 32.

Pictures are PNG files in class folders of train, valid and test. With `official_validation` the part valid validates,
without it valid joins the training images (as the authors suggest for a final model) and a share of all validates. The
training images come in one fixed permutation. The authors published mean and deviation; of the archive only the MD5 is
public, and no size.
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.data.parts import Fetch
from sparse_ortho.data.small_pictures import decoded, published
from sparse_ortho.streams import stream

FACTS = {
    "shape": (3, 32, 32),
    "classes": 10,
    "train": 90000,
    "validation": 90000,
    "test": 90000,
    "mean": (0.47889522, 0.47227842, 0.43047404),
    "std": (0.24205776, 0.23828046, 0.25874835),
    "scale": 255.0,
    "version": "1.0, 2018",
    "licence": "CC BY 4.0",
}
SOURCES = {
    "CINIC-10.tar.gz": {
        "md5": "6ee4d0c996905fe93221de577967a372",
        "mirrors": (
            "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/",
            "https://datashare.is.ed.ac.uk/bitstream/handle/10283/3192/",
        ),
    },
}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cinic10(fetch: Fetch, *, official_validation: bool = True) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Images, labels and the numbers of training and of validation images, which come first."""
    pictures = published(fetch("CINIC-10.tar.gz"), "cinic10", FACTS, CLASSES)
    images, labels = decoded(pictures, FACTS["shape"]), pictures.labels
    if official_validation:
        return images, labels, pictures.n_train, pictures.n_validation
    n = pictures.n_train + pictures.n_validation
    order = np.concatenate([stream(0, "split", "cinic10 joined").permutation(n), np.arange(n, len(labels))])
    return images[order], labels[order], n, 0
