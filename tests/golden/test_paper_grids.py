"""Scale `paper` holds exactly the published grids of the networks that are there, run for run."""

from __future__ import annotations

import pytest

from sparse_ortho.plan.workflow import Plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan({"scale": "paper", "device": "cpu"})


def runs(plan: Plan, exhibit: str) -> int:
    return sum(len(view.seeds) for view in plan.study("eoi").exhibits[exhibit][2])


def test_singular_values_of_the_mlp(plan: Plan) -> None:
    """12 densities x 4 activations x 5 masks x {base, isometry, eoi} x 5 seeds, and nothing of it is trained."""
    assert runs(plan, "jacobian") == 3600
    trained = {node.id for node in plan.study("eoi").nodes("train")}
    views = plan.study("eoi").exhibits["jacobian"][2]
    only = [view for view in views if view.axes["density"] not in (0.05, 0.1)]
    assert len(only) == 10 * 4 * 5 * 3 and not trained & {view.id for view in only}


def test_loss_curves_of_the_mlp(plan: Plan) -> None:
    """Dense {orthogonal, default} x 4 activations, and 2 densities x 15 x 4, five seeds each."""
    assert runs(plan, "loss_curves_activations") == 40 + 600


def test_seeds_are_those_of_the_specs(plan: Plan) -> None:
    assert {seed for seeds in plan.study("eoi").seeds.values() for seed in seeds} == {1, 2, 3, 4, 5}
