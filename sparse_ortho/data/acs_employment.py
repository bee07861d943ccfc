"""ACSEmployment (Ding, Hardt, Miller and Schmidt 2021, folktables): 16 survey answers, employed or not.

As in the tabular notebook of the code beside Gadhikar, Mukherjee and Burkholz (ICML 2023). The user supplies
acs_employment.csv, .csv.gz or .parquet: the person survey, 1-Year, 2018, of Alabama there, with the columns FEATURES
and the label ESR, as folktables hands them out (0 and 1). Raw survey files work too: `positive: 1` makes ESR 1 (a
civilian at work) the label and everything else 0, and `missing: 0` fills gaps as folktables does: its
nan_to_num(x, -1) hands the -1 to another parameter. A fifth is set aside by scikit-learn's split with random_state 0,
not stratified, which leaves the notebook's 38,221 rows for training. What is not from it: the validation part, the
last share of the training rows, which that split has put in random order. Two logits, as its network
16-256-256-256-2 has.
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.data.parts import Arrays, Fetch
from sparse_ortho.data.tables import read_table, standardised
from sparse_ortho.errors import UserError

FACTS = {
    "shape": (16,),
    "classes": 2,
    "train": 38221,
    "test": 9556,
    "mean": (0.0,),
    "std": (1.0,),
    "scale": 1.0,
    "version": "ACS PUMS 2018 1-Year, persons, Alabama",
    "licence": "public domain (US Census Bureau)",
}
SOURCES = {".": {"folder": True}}
FEATURES = (
    "AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG",
    "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P",
)  # fmt: skip
SPLIT, TEST = 0, 0.2
FEWEST = 10  # rows; fewer leave no validation part


def acs_employment(
    fetch: Fetch,
    *,
    label: str = "ESR",
    positive: float | None = None,
    missing: float | None = None,
    standardise: bool = False,
) -> Arrays:
    """Features, labels and the number of training rows, which come first."""
    from sklearn.model_selection import train_test_split

    place = fetch(".")
    features, labels = read_table(place, "acs_employment", FEATURES, label, positive=positive, missing=missing)
    if len(labels) < FEWEST:
        raise UserError(str(place), f"needs at least {FEWEST} rows", found=len(labels))
    train, test = train_test_split(np.arange(len(labels)), test_size=TEST, random_state=SPLIT)
    order = np.concatenate([train, test])
    features, labels = features[order], labels[order]
    if standardise:  # over the validation rows too: which of the training rows these are is settled later
        features = standardised(features, slice(len(train)))
    return features, labels, len(train)
