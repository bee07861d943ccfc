"""A data set as arrays: images, labels, and the indices of its three parts. A pure function of its name and options.

Where the data set has no official validation part, it is floor(validation x n) of the training images, the last of them
(MNIST: the first 54,000 train, the last 6,000 validate) or the first (ToST: images 0..4,999 of CIFAR validate), fixed
for all seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sparse_ortho import registry
from sparse_ortho.data.parts import Arrays, Streamed
from sparse_ortho.data.places import fetcher
from sparse_ortho.errors import UserError
from sparse_ortho.facts import with_options
from sparse_ortho.schedules import share
from sparse_ortho.signatures import options_of


def build(
    name: str,
    *,
    validation: float = 0.1,
    take: Literal["last", "first"] = "last",
    options: Mapping[str, Any] | None = None,
    folder: str | None,
    cache: Path | str,
    place: Path | str | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays images (or files), labels, train, validation, test, and the facts that training needs.

    `place` is where the user said that this data set is; `folder` holds `<name>/<file>` or `<file>` of many data sets;
    without either, files are downloaded into `cache`.
    """
    if not 0 <= validation < 1:
        raise UserError("data.validation", "must be at least 0 and below 1", found=validation)
    if take not in ("last", "first"):
        raise UserError("data.take", "which training images validate", found=take, allowed=("last", "first"))
    module = registry.resolve("datasets", name, "data.name").partition(":")[0]
    stated, files = (registry.load_path(f"{module}:{constant}") for constant in ("FACTS", "SOURCES"))
    function, options = registry.load("datasets", name), dict(options or {})
    facts = with_options(stated, options_of(function) | options, f"data {name}")
    loaded = function(fetcher(name, files, place, folder, cache), **options)
    arrays, labels, n_train, n_validation, more = _contents(loaded)
    if n_validation and (validation, take) != (0.1, "last"):
        found = {"validation": validation, "take": take}
        raise UserError("data", f"{name} has a validation part of its own, which neither option changes", found=found)
    highest = max(facts["classes"] - 1, 1)  # one logit has two classes
    if len(labels) and not 0 <= labels.min() <= labels.max() <= highest:
        found = (int(labels.min()), int(labels.max()))
        raise UserError(f"data set {name}", f"has labels outside 0..{highest}", found=found)
    if n_validation:
        train, validating = np.arange(n_train), np.arange(n_train, n_train + n_validation)
    else:
        train, validating = _split(n_train, share(validation, n_train), take)
    test = np.arange(n_train + n_validation, len(labels))
    arrays |= {"labels": labels.astype(np.int64), "train": train, "validation": validating, "test": test}
    kept = {key: facts[key] for key in ("shape", "classes", "mean", "std", "scale")}
    return arrays, {"name": name, **kept, **more}


def _contents(loaded: Arrays | Streamed) -> tuple[dict[str, np.ndarray], np.ndarray, int, int, dict[str, Any]]:
    """What the data set's function returned: images or names of files, labels, counts of parts, further facts."""
    if isinstance(loaded, Streamed):
        names = np.frombuffer("\n".join(loaded.files).encode(), np.uint8)
        more = {"streamed": True, "root": str(loaded.root.resolve())}
        # Whoever decodes later decides the pixels, so its version is content: a new one makes new trainings.
        decoder = np.frombuffer(f"pillow {metadata.version('pillow')}".encode(), np.uint8)
        return {"files": names, "decoder": decoder}, loaded.labels, loaded.n_train, loaded.n_validation, more
    images, labels, n_train, *official = loaded
    return {"images": np.ascontiguousarray(images)}, labels, n_train, sum(official), {}


def _split(n: int, held: int, take: str) -> tuple[np.ndarray, np.ndarray]:
    """Which of the first `n` images train and which `held` ones validate."""
    if take == "first":
        return np.arange(held, n), np.arange(held)
    return np.arange(n - held), np.arange(n - held, n)
