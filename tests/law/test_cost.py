"""Nominal cost, by hand on networks whose shapes are known, and what a process holds."""

from __future__ import annotations

import pytest

from sparse_ortho.plan.cost import seed_bytes, seed_seconds
from sparse_ortho.plan.identity import Cell, resolve_cell

MLP = {"name": "mlp", "width": 64}  # 64 x 64 six times, then 10 x 64: 25,216 weights, 50,432 FLOPs an image
DEEP = {"name": "mlp", "depth": 1000, "width": 128}


def cell_of(**changes: object) -> Cell:
    raw = {"data": "digits", "model": MLP, "mask": "erk", "init": "eoi", "density": 0.5}
    return resolve_cell(raw | changes, "here")


def seconds(stage: str, **changes: object) -> float:
    return seed_seconds(cell_of(**changes).nodes[stage], "cpu")


def test_random_masks_and_direct_initialisations_take_a_second():
    assert seconds("mask") == seconds("init") == seconds("init", init="orthogonal") == seconds("measure") == 1


def test_descent_costs_two_products_of_each_gram_matrix_a_step():
    flops = 6 * 4 * 64**3 + 4 * 10**2 * 64
    assert seconds("init", init={"name": "isometry", "steps": 7}) == pytest.approx(1 + 7 * flops / 2e10, rel=1e-12)
    assert seconds("init", init="isometry@as_released") == pytest.approx(1 + 10_000 * flops / 2e10, rel=1e-12)


def test_scores_cost_three_passes_of_what_they_see():
    once = 3 * 50_432 / 2e10
    assert seconds("mask", mask="snip") == pytest.approx(1 + 100 * once, rel=1e-12)  # ten of each of ten classes
    assert seconds("mask", mask="synflow") == pytest.approx(1 + 100 * once, rel=1e-12)  # a hundred rounds of one
    two = {"score": "snip", "layers": {"name": "synflow", "rounds": 3}}
    assert seconds("mask", mask=two) == pytest.approx(1 + 103 * once, rel=1e-12)
    assert seconds("mask", mask="magnitude") == pytest.approx(1 + once, rel=1e-12)


def test_overhead_grows_with_the_layers_and_not_below_ten():
    """Nothing but overhead: the step of 1,000 layers is as long as that of a hundred times ten."""
    nodes = {
        depth: resolve_cell(
            {"data": "mnist", "model": model, "mask": "dense", "init": "orthogonal", "train": {"epochs": 1}}, "here"
        ).nodes["train"]
        for depth, model in ((7, "mlp"), (1000, DEEP))
    }
    flops = {7: 258_800, 1000: 32_905_728}
    step = {
        depth: (seed_seconds(node, "cuda") - 3 * 60_000 * flops[depth] / 1e13) * 128 / 60_000
        for depth, node in nodes.items()
    }
    assert step[7] == pytest.approx(1e-3) and step[1000] == pytest.approx(0.1)


def test_a_model_that_no_study_names_is_not_thought_free():
    unknown = {"name": "mlp", "width": 63}
    assert seconds("train", model=unknown) > seconds("train")
    assert seconds("init", model=unknown, init="isometry") == 1


@pytest.mark.parametrize(("stage", "each"), [("data", 0), ("mask", 1), ("init", 5), ("train", 5), ("measure", 0)])
def test_a_process_holds_the_weights_and_masks_of_a_seed(stage: str, each: int):
    assert seed_bytes(cell_of().nodes[stage]) == each * 25_216


def test_of_a_model_that_no_study_names_nothing_is_known():
    assert seed_bytes(cell_of(model={"name": "mlp", "width": 63}).nodes["init"]) == 0
