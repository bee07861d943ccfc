"""Higgs (Baldi, Sadowski and Whiteson 2014) as OpenML task 361069 has it: 24 of the 28 features, signal or background.

The user supplies the table higgs.csv, higgs.csv.gz or higgs.parquet with the columns FEATURES, which leave out the four
b-tags, and a label column of 0 and 1; other columns are left alone. The split is 70/15/15 with the classes in
proportion, by scikit-learn with random_state 42, and nothing is scaled, as in the released program of EOI. One logit,
so that 24-256-256-1 has its 72,449 parameters. What is not from there: that the 30 % set aside are halved by a second
split with the same random_state.
"""

from __future__ import annotations

import numpy as np

from sparse_ortho.data.parts import Arrays, Fetch
from sparse_ortho.data.tables import read_table, standardised, stratified

FACTS = {
    "shape": (24,),
    "classes": 1,  # one logit, for two classes
    "train": None,  # known when the table is there
    "test": None,
    "mean": (0.0,),
    "std": (1.0,),
    "scale": 1.0,
    "version": "OpenML task 361069",
    "licence": "CC BY 4.0",
}
SOURCES = {".": {"folder": True}}
FEATURES = (
    "lepton_pT", "lepton_eta", "lepton_phi", "missing_energy_magnitude", "missing_energy_phi",
    "jet1pt", "jet1eta", "jet1phi", "jet2pt", "jet2eta", "jet2phi",
    "jet3pt", "jet3eta", "jet3phi", "jet4pt", "jet4eta", "jet4phi",
    "m_jj", "m_jjj", "m_lv", "m_jlv", "m_bb", "m_wbb", "m_wwbb",
)  # fmt: skip
SPLIT = 42


def higgs(fetch: Fetch, *, label: str = "target", standardise: bool = False) -> Arrays:
    """Features, labels and the sizes of the training and validation parts."""
    place = fetch(".")
    features, labels = read_table(place, "higgs", FEATURES, label)
    train, validation, test = stratified(labels, (0.15, 0.15), SPLIT, str(place))
    order = np.concatenate([train, validation, test])
    features, labels = features[order], labels[order]
    if standardise:
        features = standardised(features, slice(len(train)))
    return features, labels, len(train), len(validation)
