"""A made table of the kind of ACSEmployment (data/acs_employment.py): for the exhibits of tables, without a file.

    z = 1.5 - ((x_1 - 45) / 15)^2 + (x_2 - 12) / 4 + 1.5 [x_9 = x_10] - 2 [x_11 = 1],   P(y = 1) = 1 / (1 + e^-2z)

Sixteen whole numbers a row: x_1 uniform on 0..94 as an age is, x_2 .. x_8 on 0..23, x_9 .. x_16 on 1..2, of which five
decide. 4,000 rows train, 1,000 test; they are the same always. From no paper, and no stand-in for a real table: the
best answer is right in 93 % of the rows and the larger class holds 70 %, so one sees whether a network has learned.
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.data.parts import Arrays, Fetch
from sparse_ortho.data.tables import standardised
from sparse_ortho.streams import stream

FACTS = {
    "shape": (16,),
    "classes": 2,
    "train": 4000,
    "test": 1000,
    "mean": (0.0,),
    "std": (1.0,),
    "scale": 1.0,
    "version": "made here",
    "licence": "none needed",
}
SOURCES = {}


def made_table(fetch: Fetch, *, standardise: bool = False) -> Arrays:
    """Features, labels and the number of training rows, which come first."""
    rng, rows = stream(0, "split", "made_table"), FACTS["train"] + FACTS["test"]
    age, years = rng.integers(0, 95, (rows, 1)), rng.integers(0, 24, (rows, 7))
    x = np.concatenate([age, years, rng.integers(1, 3, (rows, 8))], axis=1)
    labels = (rng.random(rows) < probability(x)).astype(np.int64)
    features = x.astype(np.float32)
    return standardised(features, slice(FACTS["train"])) if standardise else features, labels, FACTS["train"]


def probability(x: np.ndarray) -> np.ndarray:
    """Of class 1."""
    z = 1.5 - ((x[:, 0] - 45) / 15) ** 2 + (x[:, 1] - 12) / 4 + 1.5 * (x[:, 8] == x[:, 9]) - 2.0 * (x[:, 10] == 1)
    return 1 / (1 + np.exp(-2 * z))
