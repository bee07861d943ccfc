"""A tuned table and figure on real Snakemake: what is shown is what the records of the validation part choose."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas
import yaml

from tests.conftest import Checkout

LRS = [1e30, 0.0001, 0.05]  # one diverges, one hardly learns
BLOCK = {"cells": [{"mask": "erk", "density": 0.3, "init": ["kaiming", "eoi"]}], "tune": {"train.lr": LRS}}
WORDS = {"title": "A", "caption": "B.", "category": "C", "scales": {"tiny": BLOCK}}


def records(folder: Path) -> Any:
    """All runs, with what made them from the jobs that provenance keeps."""
    rows = pandas.concat([pandas.read_parquet(path) for path in (folder / "records").glob("*.parquet")])
    rates: Any = {}
    for path in (folder / "provenance" / "train").glob("*.json"):
        told = json.loads(json.loads(path.read_text())["job"])
        for cell in told["cells"]:
            spec = told["common"].get("spec", {}) | cell["spec"]
            rates[cell["id"] if "id" in cell else told["common"]["id"]] = spec["train"].get("lr", 0.1)
    return rows.assign(lr=rows["cell"].map(rates), init=rows["cell"].str.split("-").str[3])


def test_what_is_shown_is_the_trial_that_validates_best(checkout: Checkout) -> None:
    tiny = checkout.folder / "studies" / "tiny"
    table = WORDS | {"kind": "table", "rows": ["mask"], "columns": ["init"]}
    curves = WORDS | {"kind": "curves", "panels": ["mask"], "hue": "init"}
    for name, exhibit in (("accuracy", table), ("loss", curves)):
        (tiny / f"{name}.yaml").write_text(yaml.safe_dump(exhibit))
    checkout.edit("config.yaml", "bundle: 2", "bundle: 16")
    checkout.snakemake()

    runs = records(checkout.results)
    assert len(runs) == 2 * len(LRS) * 2 and set(runs["lr"]) == set(LRS)
    assert set(runs.loc[runs["lr"] == 1e30, "status"]) == {"diverged"}
    finished = runs[runs["status"] == "ok"]
    means = finished.groupby(["init", "cell"])["validation_accuracy_last"].mean()
    best = {init: means[init].idxmax() for init in ("kaiming", "eoi")}
    assert sorted(finished.groupby("cell").size()) == [2, 2, 2, 2]
    tested = finished.groupby("cell")["test_accuracy_last"].mean()

    listed: Any = pandas.read_csv(checkout.results / "tables/tiny/tiny/accuracy.csv")
    assert set(listed["cell"]) == set(runs["cell"]) and len(listed) == 6
    shown = listed[listed["chosen"]].set_index("init")
    assert dict(shown["cell"]) == best
    for init, cell in best.items():
        assert abs(shown.loc[init, "mean"] - tested[cell]) < 1e-9
        assert abs(shown.loc[init, "validation_accuracy_last_mean"] - means[init, cell]) < 1e-9
    text = (checkout.results / "tables/tiny/tiny/accuracy.md").read_text()
    first, second = text.split("## Trials of: A")
    for init, cell in best.items():
        assert f"{tested[cell]:.1f}" in first and f"**{means[init, cell]:.1f}" in second
    assert "2 diverged" in second

    points: Any = pandas.read_csv(checkout.results / "figures/tiny/tiny/loss.csv")
    assert set(points["cell"]) == set(runs["cell"])
    assert set(points.loc[points["chosen"], "cell"]) == set(best.values())
    page = (checkout.results / "report.html").read_text()
    assert len(re.findall(r"Tuned: train\.lr among 1e\+30, 0\.0001, 0\.05", page)) == 2
