"""A data set as arrays: uint8 images, labels, and the indices of its three parts. A pure function of its name.

The validation part is the last floor(validation x n) of the training images, fixed for all seeds (MNIST: the first
54,000 train, the last 6,000 validate).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparse_ortho import registry
from sparse_ortho.data import sources
from sparse_ortho.errors import UserError
from sparse_ortho.schedules import share


def build(
    name: str,
    *,
    validation: float = 0.1,
    options: Mapping[str, Any] | None = None,
    folder: str | None,
    cache: Path | str,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays images (N, C, H, W), labels, train, validation, test, and the facts that training needs.

    `folder` is the user's folder of original files: `<folder>/<name>/<file>` or `<folder>/<file>`.
    """
    if not 0 <= validation < 1:
        raise UserError("data.validation", "must be at least 0 and below 1", found=validation)
    if folder and not Path(folder).is_dir():
        raise UserError("SPARSE_ORTHO_DATA", "is no folder", found=folder)
    module = registry.resolve("datasets", name, "data.name").partition(":")[0]
    facts, files = (registry.load_path(f"{module}:{constant}") for constant in ("FACTS", "SOURCES"))
    folders = [Path(folder) / name, Path(folder)] if folder else []

    def fetch(file: str) -> Path:
        return sources.fetch(file, files[file], folders, Path(cache) / name)

    images, labels, n_train = registry.load("datasets", name)(fetch, **(options or {}))
    split = n_train - share(validation, n_train)
    arrays = {
        "images": np.ascontiguousarray(images),
        "labels": labels.astype(np.int64),
        "train": np.arange(split),
        "validation": np.arange(split, n_train),
        "test": np.arange(n_train, len(images)),
    }
    kept = {key: facts[key] for key in ("shape", "classes", "mean", "std", "scale")}
    return arrays, {"name": name, **kept}
