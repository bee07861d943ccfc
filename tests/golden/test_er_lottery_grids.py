"""The grids of the study er_lottery at paper scale are those of the released programs' runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparse_ortho.plan.layout import Layout
from sparse_ortho.plan.studies import ScaledStudy, at_scale
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def paper() -> ScaledStudy:
    return at_scale("er_lottery", "paper")


def specs(study: ScaledStudy, exhibit: str) -> list[dict[str, Any]]:
    """What is trained in each cell of an exhibit, with the density of its mask and its layer scheme."""
    found = []
    for view in study.exhibits[exhibit][2]:
        nodes = study.cells[view.id].nodes
        mask = nodes["mask"].spec if "mask" in nodes else {"density": 1.0, "mask": {"layers": {"name": "dense"}}}
        found.append({**nodes["train"].spec, "start": (mask["mask"]["layers"]["name"], mask["density"])})
    return found


def test_strong_tickets_have_the_released_targets_and_masks(paper: ScaledStudy) -> None:
    runs = specs(paper, "strong_tickets")
    pairs = {(run["rule"]["final_density"], run["start"][1]) for run in runs}
    assert pairs == {(0.2, 0.5), (0.1, 0.5), (0.05, 0.5), (0.01, 0.5), (0.05, 0.2), (0.1, 0.3)} and len(runs) == 6
    for run in runs:
        assert run["rule"]["levels"] == 5 and run["train"]["epochs"] == 5 * 100 and run["rule"]["restart"]
        assert run["model"]["name"] == "deep_resnet"


def test_dynamic_training_has_the_released_starts_and_ends(paper: ScaledStudy) -> None:
    runs = specs(paper, "dynamic")
    found = {(*run["start"], run["rule"]["final_density"]) for run in runs}
    assert found == {("erk", 0.5, 0.01), ("pyramid", 0.1, 0.01), ("balanced", 0.05, 0.01), ("balanced", 0.01, 0.001)}
    assert all(run["model"] == {"name": "vgg"} and run["train"]["epochs"] == 160 for run in runs)


def test_soft_thresholds_have_the_released_masks_and_decay(paper: ScaledStudy) -> None:
    runs = specs(paper, "soft_thresholds")
    assert {run["start"] for run in runs} == {
        (s, d) for s in ("erk", "uniform", "balanced", "pyramid") for d in (0.2, 0.3)
    }
    for run in runs:
        assert run["train"]["weight_decay"] == 0.001 and run["train"].get("epochs", 100) == 100
        assert run["train"]["batch_size"] == 256 and run["train"]["label_smoothing"] == 0.1


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper", "tabular", "made"])
def test_no_strong_ticket_keeps_all_of_its_mask(scale: str) -> None:
    """Where the target is the density of the mask there is nothing to choose, and accuracy is that of chance."""
    study = at_scale("er_lottery", scale)
    for name in study.exhibits:
        for view in study.exhibits[name][2]:
            cell = study.cells[view.id]
            rule = cell.nodes["train"].spec.get("rule", {}) if "train" in cell.nodes else {}
            if rule.get("name") == "edge_popup":
                density = cell.nodes["mask"].spec["density"] if "mask" in cell.nodes else 1.0
                assert rule.get("final_density", 0.5) < density, view


def test_the_commands_of_its_page_plan_what_they_promise(tmp_path: Path) -> None:
    page = (ROOT / "studies" / "er_lottery" / "README.md").read_text().replace("~/tables", str(tmp_path))
    lines = [line for line in page.splitlines() if line.startswith(".venv/bin/snakemake ")]
    (tmp_path / "acs_employment.csv").write_text("")
    scales = []
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[1:3] == ["er_lottery", "--config"]
        told = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in words[3:])}
        targets = Layout(told).targets()
        assert {Path(path).stem for path in targets} == {"tabular", "tabular_phases"}
        scales.append(told["scale"])
    assert scales == ["made", "tabular"]


@pytest.mark.parametrize("scale", ["made", "tabular"])
def test_the_phases_of_a_table_are_those_of_the_notebook(scale: str) -> None:
    """Ten epochs each at densities 0.5, 0.4, 0.3, 0.2 and 0.1, pruned by magnitude over all layers, nothing reset."""
    study = at_scale("er_lottery", scale)
    found = {}
    for view in study.exhibits["tabular_phases"][2]:
        cell = study.cells[view.id]
        assert cell.nodes["train"].spec["train"]["epochs"] == 10
        found.setdefault(view.axes["data.standardise"], []).append(view.axes["ticket.density"])
    assert {form: sorted(densities) for form, densities in found.items()} == {
        form: [0.1, 0.2, 0.3, 0.4, 0.5] for form in (True, False)
    }
