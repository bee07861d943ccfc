"""Methods beside each other: one protocol, differences with their p, and what a training would cost."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sparse_ortho.errors import UserError
from sparse_ortho.plan import published
from sparse_ortho.plan.job import load, load_cells
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.report.methods import render
from sparse_ortho.report.training_cost import flops, share
from tests.conftest import ROOT

VALUES = {
    "dense": [98.0, 98.4, 98.3],
    "erk": [93.0, 94.0, 92.5],
    "snip": [95.1, 95.0, 94.2],
    "late": [90.0, 91.0, 92.0],
}
DENSITY = {"dense": 1.0, "erk": 0.1, "snip": 0.1, "late": 0.05}
EXHIBIT = {"study": "s", "scale": "q", "name": "m", "title": "T", "caption": "C.", "rows": ["mask"], "columns": []}
EXHIBIT |= {"metric": "test_accuracy_last", "protocol": {"multiply_adds": [60, 40], "batch": 5}}


def curve(*densities: tuple[int, int] | None) -> list[dict[str, Any]]:
    """A line an epoch: active weights of layers of 60 and of 40; None where no mask has moved."""
    told = [json.dumps({"a": [d[0], 0, 0, 60], "b": [d[1], 0, 0, 40]}) if d else None for d in densities]
    return [{"epoch": epoch, "layers": text} for epoch, text in enumerate(told)]


def rows_of(level: int | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    cells, rows = [], []
    for mask, values in VALUES.items():
        cells.append({"id": mask, "axes": {"mask": mask, "density": DENSITY[mask]}, "seeds": [0, 1, 2]})
        for seed, value in enumerate(values):
            place, density = {"cell": mask, "seed": seed}, DENSITY[mask]
            about = {"status": "ok", "reason": None, "level": level, "steps": 20, "density": density}
            rows.append(place | about | {"test_accuracy_last": value, "epochs": 2})
            first = None if mask == "dense" else (round(60 * density), round(40 * density))
            rows += [place | line for line in curve(first, None, None)]
    return cells, rows


def table(**more: Any) -> dict[str, dict[str, str]]:
    return {row["mask"]: row for row in csv.DictReader(io.StringIO(render(EXHIBIT, *rows_of(**more), [])["csv"]))}


def test_a_static_mask_costs_its_share_of_the_multiply_adds() -> None:
    assert share(curve((6, 40), None, None), [60, 40]) == pytest.approx(0.46)
    assert share(curve(None, None), [60, 40]) == 1.0


def test_a_mask_that_thins_out_costs_the_mean_of_both_ends_of_each_epoch() -> None:
    """Densities 1, 0.5, 0.1: (0.75 + 0.3) / 2."""
    assert share(curve((60, 40), (30, 20), (6, 4)), [60, 40]) == pytest.approx(0.525)


def test_masks_of_other_layers_have_no_share() -> None:
    assert share(curve((6, 40), None), [60, 40, 8]) is None
    assert share(curve((6, 40)), [60, 40]) is None


def test_flops_are_six_a_multiply_add_and_image() -> None:
    assert flops(0.5, steps=10, batch=4, multiply_adds=[60, 40]) == 0.5 * 6 * 40 * 100


def test_differences_are_those_of_welch_and_holm() -> None:
    found = table()
    others = ("erk", "snip", "late")
    raw: dict[str, Any] = {m: stats.ttest_ind(VALUES[m], VALUES["dense"], equal_var=False) for m in others}
    adjusted: Any = multipletests([raw[mask].pvalue for mask in raw], method="holm")[1]
    for (mask, test), p in zip(raw.items(), adjusted, strict=True):
        interval = test.confidence_interval()
        assert float(found[mask]["less_dense_p_welch"]) == pytest.approx(test.pvalue)
        assert float(found[mask]["less_dense_p_holm"]) == pytest.approx(p)
        assert float(found[mask]["less_dense_low"]) == pytest.approx(interval.low)
        assert float(found[mask]["less_dense_high"]) == pytest.approx(interval.high)
    assert float(found["erk"]["less_best"]) == pytest.approx(sum(VALUES["erk"]) / 3 - sum(VALUES["snip"]) / 3)
    assert [mask for mask in found if not found[mask]["less_best"]] == ["dense", "snip", "late"]


def test_bold_is_the_best_of_a_density_that_has_two() -> None:
    text = render(EXHIBIT, *rows_of(), [])["md"]
    assert "**94.8 ± 1.2**" in text and text.count("**") == 2


def test_costs_are_those_of_the_curves() -> None:
    found = table()
    assert float(found["erk"]["training_share"]) == pytest.approx(0.1)
    assert float(found["dense"]["training_flops"]) == 6 * 20 * 5 * 100


def test_a_ticket_has_no_cost_of_its_last_training_alone() -> None:
    assert {row["training_flops"] for row in table(level=1).values()} == {""}


def plan(folder: Path, *cells: dict[str, Any], **more: Any) -> Plan:
    place = folder / "studies" / "tiny"
    place.mkdir(parents=True)
    cell = {"data": "digits", "model": "lenet300_100", "init": "kaiming"}
    study = {"title": "t", "paper": "p", "scales": {"tiny": {"seeds": [0, 1], "cell": cell}}}
    words = {"kind": "methods", "title": "t", "caption": "c", "category": "k", "rows": ["mask", "rule", "ticket.kind"]}
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    (place / "methods.yaml").write_text(yaml.safe_dump(words | more | {"scales": {"tiny": {"cells": list(cells)}}}))
    return Plan({"studies": ["tiny"], "scale": "tiny", "device": "cpu"}, folder)


@pytest.mark.parametrize(
    ("other", "key"),
    [({"train.lr": 0.2}, "train"), ({"model": "mlp"}, "model"), ({"data": "mnist"}, "data"), ({"seeds": [7]}, "seeds")],
)
def test_another_protocol_is_refused(tmp_path: Path, other: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=f"scales.tiny: {key}: kind methods"):
        plan(tmp_path, {"mask": "erk", "density": 0.1}, {"mask": "snip", "density": 0.1} | other).study("tiny")


def test_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="columns: kind methods has a row a method"):
        plan(tmp_path, {"mask": "erk", "density": [0.1, 0.2]}, columns=["density"]).study("tiny")


def test_a_method_is_under_the_density_that_it_ends_with(tmp_path: Path) -> None:
    """gmp keeps 0.1 unless it is told; a ticket of one round at rate 0.95 keeps 0.05."""
    cells = [{"mask": "dense", "rule": "gmp"}, {"mask": "dense", "rule": {"name": "gmp", "final_density": 0.02}}]
    cells += [{"mask": "dense", "ticket.levels": 1, "ticket.rate": 0.95}, {"mask": "erk", "density": 0.3}]
    made = plan(tmp_path, *cells, rows=["mask", "rule", "rule.final_density", "ticket.kind"])
    job = load(made.exhibit_job("tiny", "methods"))
    assert [cell["axes"]["density"] for cell in load_cells(job.more["cells"])] == [0.1, 0.02, 0.05, 0.3]
    assert job.more["exhibit"]["protocol"]["multiply_adds"] == [64 * 300, 300 * 100, 100 * 10]
    kinds = {path.split("/")[1] for path in made.exhibit_inputs("tiny", "methods")}
    assert kinds == {"records", "curves"}


def test_published_values_of_the_comparison_are_those_of_the_study_that_they_come_from() -> None:
    """A method may be named more closely; no number stands here that is not there."""
    source = published.read(ROOT / "studies" / "sparse_momentum" / "published.csv")
    known = {(row["dataset"], row["model"], row["density"], row["mean"], row["se"], row["source"]) for row in source}
    here = published.read(ROOT / "studies" / "compare" / "published.csv")
    assert here
    for row in here:
        assert (row["dataset"], row["model"], row["density"], row["mean"], row["se"], row["source"]) in known
