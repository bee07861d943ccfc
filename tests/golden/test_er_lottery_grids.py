"""The grids of the study er_lottery at paper scale are those of the released programs' runs."""

from __future__ import annotations

from typing import Any

import pytest

from sparse_ortho.plan.studies import ScaledStudy, at_scale


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
        assert run["rule"]["levels"] == 5 and run["train"]["epochs"] == 5 * 100
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


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper", "tabular"])
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
