"""A balanced draw: the same number of examples of each class, for scores that see few (GraSP: 10 or 25 a class)."""

from __future__ import annotations

import numpy as np

from sparse_ortho.errors import UserError


def balanced(labels: np.ndarray, candidates: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """`per_class` of the indices `candidates` for each class among them (all of a smaller class), shuffled."""
    if per_class < 1:
        raise UserError("per_class", "must be at least 1", found=per_class)
    candidates = np.asarray(candidates, dtype=np.int64)
    found = labels[candidates]
    drawn = [rng.permutation(candidates[found == label])[:per_class] for label in np.unique(found)]
    return rng.permutation(np.concatenate(drawn)) if drawn else candidates
