"""The 1,797 digits that scikit-learn carries: no download, 8 x 8 pixels with values 0..16.

There is no official test part: 360 images are set aside by one fixed permutation, and the other 1,437 stay in the
permutation's order (the original order goes writer by writer, so its last tenth would be other people's hands).
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.data.parts import Fetch
from sparse_ortho.streams import stream

FACTS = {
    "shape": (1, 8, 8),
    "classes": 10,
    "train": 1437,
    "test": 360,
    "mean": (0.3054,),
    "std": (0.376,),
    "scale": 16.0,
    "version": "UCI optical recognition of handwritten digits, test part (1998), as in scikit-learn",
    "licence": "CC BY 4.0",
}
SOURCES = {}


def digits(fetch: Fetch) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, labels and the number of training images, which come first."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    order = stream(0, "split", "digits").permutation(len(labels))
    order = np.concatenate([order[FACTS["test"] :], order[: FACTS["test"]]])
    images = np.asarray(values)[order].astype(np.uint8).reshape(-1, *FACTS["shape"])
    return images, np.asarray(labels)[order].astype(np.int64), FACTS["train"]
