"""The exhibit of a table, from a file of the user's: standardised and not, from the CSV to the table of the study."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np

from sparse_ortho.artifacts import read_tensors
from sparse_ortho.data.acs_employment import FEATURES
from tests.conftest import ROOT, Checkout

ROWS = 400


def test_a_table_of_the_users_becomes_the_exhibit(checkout: Checkout, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = np.concatenate([rng.integers(0, 95, (ROWS, 1)), rng.integers(1, 6, (ROWS, 15))], axis=1)
    place = tmp_path / "mine"
    place.mkdir()
    with (place / "acs_employment.csv").open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow([*FEATURES, "ESR"])
        written.writerows([*map(int, row), int(row[0] > 40)] for row in table)
    shutil.copytree(ROOT / "studies" / "er_lottery", checkout.folder / "studies" / "er_lottery")
    checkout.edit("studies/er_lottery/study.yaml", "{epochs: 60,", "{epochs: 8,")
    checkout.edit("studies/er_lottery/study.yaml", "seeds: [0, 1, 2, 3, 4]", "seeds: [0]")
    checkout.edit("studies/er_lottery/tabular.yaml", "every: 10ep, stop: 40ep", "every: 1ep, stop: 4ep")
    shown = "results/tables/er_lottery/tabular/tabular.csv"
    paths = f"paths={json.dumps({'acs_employment': str(place)})}"
    checkout.snakemake("--cores", "1", shown, "--config", "scale=tabular", "studies=[er_lottery]", paths)

    forms = [read_tensors(path)[0]["images"] for path in sorted((checkout.results / "data").glob("*.safetensors"))]
    assert sorted(bool((form == form.round()).all()) for form in forms) == [False, True]
    plain = next(form for form in forms if (form == form.round()).all())
    assert sorted(map(tuple, plain.tolist())) == sorted(map(tuple, table.astype(float).tolist()))

    with (checkout.folder / shown).open() as file:
        rows = list(csv.DictReader(file))
    mean = {(r["data.standardise"], r["mask"], r["rule"], r["metric"]): float(r["mean"]) for r in rows}
    kinds = [("dense", "static", 1.0), ("uniform", "static", 0.5), ("uniform", "gmp", 0.1)]
    assert len(mean) == 2 * len(kinds) * 3
    for form in ("true", "false"):
        for mask, rule, density in kinds:
            about = (form, mask, rule)
            assert abs(mean[*about, "density"] - density) < 1e-4
            assert mean[*about, "test_accuracy_max"] >= mean[*about, "test_accuracy_last"] > 0
    assert mean["true", "dense", "static", "test_accuracy_max"] > 80  # one column decides; chance is 57
