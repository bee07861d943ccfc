"""What exhibits of one study may share: networks, with different measurements or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sparse_ortho.errors import UserError
from sparse_ortho.plan.workflow import Plan

STUDY = {
    "title": "Tiny",
    "paper": "none",
    "scales": {"tiny": {"seeds": [0], "cell": {"data": "digits", "model": "mlp", "density": 0.3}}},
}
TABLE = {"kind": "table", "title": "t", "caption": "c", "category": "k", "rows": ["mask"], "columns": ["init"]}
LINES = {
    "kind": "lines",
    "title": "t",
    "caption": "c",
    "category": "k",
    "x": "density",
    "hue": "init",
    "panels": ["mask"],
}
CELLS = {"mask": ["erk", "uniform"], "init": "eoi"}


def plan(folder: Path, **exhibits: dict[str, Any]) -> Plan:
    place = folder / "studies" / "tiny"
    place.mkdir(parents=True)
    (place / "study.yaml").write_text(yaml.safe_dump(STUDY))
    for name, exhibit in exhibits.items():
        (place / f"{name}.yaml").write_text(yaml.safe_dump(exhibit))
    return Plan({"studies": ["tiny"], "scale": "tiny", "device": "cpu"}, folder)


def shown(base: dict[str, Any], **more: Any) -> dict[str, Any]:
    return base | {"scales": {"tiny": {"cells": [CELLS | more]}}}


def test_two_exhibits_may_measure_the_same_networks_differently(tmp_path: Path) -> None:
    few, many = ({"name": "jacobian", "images": n} for n in (8, 64))
    made = plan(tmp_path, few=shown(LINES, measure=few), many=shown(LINES, measure=many), trained=shown(TABLE))
    study = made.study("tiny")
    assert len(study.nodes("train")) == len(study.nodes("init")) == 2
    assert sorted(node.spec["measure"]["images"] for node in study.nodes("measure")) == [8, 8, 64, 64]
    ids = {name: {view.id for view in views} for name, (_, _, views) in study.exhibits.items()}
    assert ids["trained"] == {node.id for node in study.nodes("train")}
    assert ids["few"] | ids["many"] == {node.id for node in study.nodes("measure")} and not ids["few"] & ids["many"]
    for name in ("few", "many", "trained"):
        assert made.exhibit_inputs("tiny", name) and made.exhibit_job("tiny", name)


def test_what_only_is_measured_is_not_trained(tmp_path: Path) -> None:
    study = plan(tmp_path, lines=shown(LINES)).study("tiny")
    assert len(study.nodes("measure")) == 2 and not study.nodes("train")


def test_the_same_start_under_two_names_is_refused(tmp_path: Path) -> None:
    """A measurement of the initialisation does not see how a network would be trained."""
    with pytest.raises(UserError, match="the same cell is named twice"):
        plan(tmp_path, lines=shown(LINES | {"hue": "train.lr"}, **{"train.lr": [0.1, 0.2]})).study("tiny")
