"""SVHN (Netzer et al. 2011): 32 x 32 crops of house numbers, from the MATLAB files of cropped digits.

Format: MATLAB 5, X (32, 32, 3, N) bytes and y (N, 1) from 1 to 10, where 10 is the digit 0. The 531,131 easier `extra`
images come before the other training images, so that the validation part (the last ones) is as hard as the test part.
Digests and sizes are those that TensorFlow Datasets publishes, mean and deviation those of the 73,257 training images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sparse_ortho.data.parts import Fetch
from sparse_ortho.errors import UserError

FACTS = {
    "shape": (3, 32, 32),
    "classes": 10,
    "train": 73257,
    "test": 26032,
    "extra": 531131,
    "mean": (0.4377, 0.4438, 0.4728),
    "std": (0.1980, 0.2010, 0.1970),
    "scale": 255.0,
    "version": "2011, cropped digits (format 2)",
    "licence": "non-commercial use only",
}
SOURCES = {
    "train_32x32.mat": {
        "sha256": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        "bytes": 182040794,
        "mirrors": ("http://ufldl.stanford.edu/housenumbers/",),
    },
    "test_32x32.mat": {
        "sha256": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        "bytes": 64275384,
        "mirrors": ("http://ufldl.stanford.edu/housenumbers/",),
    },
    "extra_32x32.mat": {
        "sha256": "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
        "bytes": 1329278602,
        "mirrors": ("http://ufldl.stanford.edu/housenumbers/",),
    },
}


def svhn(fetch: Fetch, *, extra: bool = False) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, labels and the number of training images, which come first; `extra` adds 531,131 of them."""
    names = ["extra", "train", "test"] if extra else ["train", "test"]
    parts = [read_mat(fetch(f"{name}_32x32.mat"), FACTS[name]) for name in names]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return images, labels, len(labels) - FACTS["test"]


def read_mat(path: Path, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n` images (n, 3, 32, 32) and labels 0..9 of a MATLAB file."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # scipy answers damage with errors of many kinds, AssertionError among them
        if isinstance(error, MemoryError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(str(path), f"is not a complete MATLAB 5 file ({reason})") from None
    for name, shape in {"X": (32, 32, 3, n), "y": (n, 1)}.items():
        array = content.get(name)
        found = None if array is None else (*array.shape, str(array.dtype))
        if found != (*shape, "uint8"):
            raise UserError(str(path), f"should hold {name} of bytes in the shape {shape}", found=found)
    labels = content["y"][:, 0].astype(np.int64)
    if n and not 1 <= labels.min() <= labels.max() <= 10:
        raise UserError(str(path), "has labels outside 1..10", found=(int(labels.min()), int(labels.max())))
    return np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1)), labels % 10
