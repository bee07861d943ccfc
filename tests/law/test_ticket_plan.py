"""Ladders in the plan: identity is the chain, a level more is a node more, and what could not be made is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sparse_ortho.errors import UserError
from sparse_ortho.plan import job as jobs
from sparse_ortho.plan.grid import axis_value
from sparse_ortho.plan.identity import Cell, resolve_cell
from sparse_ortho.plan.misfits import refuse_misfits
from sparse_ortho.plan.summary import spent
from sparse_ortho.plan.ticket_words import density_at
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.report.line_layout import arrange

RAW = {"data": "digits", "model": {"name": "mlp", "width": 16}, "init": "kaiming", "train": {"epochs": 2}}
EXHIBIT = {"kind": "outcomes", "title": "t", "caption": "c", "category": "k", "x": "ticket.density"}
EXHIBIT |= {"hue": "ticket.kind", "quantities": ["test_accuracy_last"]}


def cell(ticket: Any = None, **more: Any) -> Cell:
    return resolve_cell(RAW | more | ({} if ticket is None else {"ticket": ticket}), "here")


def levels(found: Cell) -> dict[int, Any]:
    """Level -> what its node says of pruning."""
    nodes = [node for node in found.needed("train") if node.stage == "ticket"]
    return {node.spec["level"]: node.spec["ticket"] for node in nodes}


def test_a_level_is_pruned_after_the_training_of_the_cell_with_one_level_less() -> None:
    for level in (1, 2, 5):
        lower, upper = cell({"levels": level - 1}), cell({"levels": level})
        node = upper.nodes["init"]
        assert (node.stage, node.spec["level"]) == ("ticket", level)
        assert node.inputs["train"] == lower.nodes["train"].id and node.inputs["init"] == lower.nodes["init"].id
        assert upper.nodes["train"].inputs["init"] == node.id


def test_no_level_is_the_cell_itself() -> None:
    assert cell({"levels": 0}).id == cell(None).id == cell({"levels": 0, "kind": "reinit", "rate": 0.5}).id


def test_one_level_more_is_one_ticket_and_one_training_more() -> None:
    needed = [{node.id for node in cell({"levels": level}).needed("train")} for level in (16, 17)]
    assert needed[0] < needed[1] and len(needed[1] - needed[0]) == 2


@pytest.mark.parametrize(
    ("ticket", "expected"),
    [
        ({"levels": 3}, [{"rate": 0.2}] * 3),
        ({"levels": 2, "rate": 0.2, "kind": "lt", "rewind": "init"}, [{"rate": 0.2}] * 2),
        ({"levels": 3, "rate": 0.5, "density": 0.15}, [{"rate": 0.5}, {"rate": 0.5}, {"density": 0.15}]),
        ({"levels": 2, "density": 0.25}, [{"density": 0.5}, {"density": 0.25}]),
        ({"levels": 2, "densities": [0.6, 0.3, 0.1]}, [{"density": 0.6}, {"density": 0.3}]),
        ({"kind": "lrr"}, [{"reset": "nothing", "rate": 0.2}]),
        ({"kind": "imp"}, [{"rate": 0.2}]),
        ({"kind": "random", "layers": "erk"}, [{"score": {"name": "random"}, "layers": "erk", "rate": 0.2}]),
    ],
)
def test_what_each_level_keeps(ticket: dict[str, Any], expected: list[Any]) -> None:
    assert levels(cell(ticket)) == dict(enumerate(expected, start=1))


def test_the_last_level_alone_knows_the_density_that_a_ladder_ends_at() -> None:
    plain, exact = cell({"levels": 3, "rate": 0.5}), cell({"levels": 3, "rate": 0.5, "density": 0.15})
    assert exact.nodes["init"].inputs == plain.nodes["init"].inputs and exact.id != plain.id


def test_a_ladder_from_a_sparse_start_begins_at_its_density() -> None:
    start = {"mask": "erk", "density": 0.3}
    sparse = cell({"levels": 2, "density": 0.03}, **start)
    assert levels(sparse) == {1: {"density": 0.0948683298051}, 2: {"density": 0.03}}  # 0.3 * sqrt(0.1)
    assert {node.stage for node in sparse.needed("train")} == {"data", "mask", "init", "ticket", "train"}


def test_masks_without_a_training_need_none() -> None:
    nodes = cell({"levels": 4, "kind": "random"}).needed("train")
    assert [node.stage for node in nodes].count("train") == 1
    assert cell({"levels": 4, "kind": "random"}, train={"epochs": 9}).nodes["init"] in nodes
    looks = cell({"levels": 4, "score": "snip"}).needed("train")
    assert [node.stage for node in looks].count("train") == 5


def test_masks_of_another_ladder_are_its_nodes() -> None:
    theirs = cell({"levels": 3})
    ours = cell({"levels": 3, "kind": "reinit", "masks_of": {"ticket.kind": "lt"}})
    assert ours.nodes["init"].inputs["ticket"] == theirs.nodes["init"].id
    assert [node.spec["level"] for node in ours.needed("train") if node.stage == "ticket"].count(3) == 2
    own = cell({"levels": 3, "kind": "lrr", "masks_of": {"ticket.kind": "lt"}})
    assert {"train", "init", "ticket"} < own.nodes["init"].inputs.keys(), "its weights are those of its own trainings"


def test_early_rewinding_asks_for_the_first_training_once() -> None:
    found = [node for node in cell({"levels": 3, "rewind": "1ep"}).needed("train") if node.stage == "ticket"]
    assert {node.spec["level"]: "early" in node.inputs for node in found} == {1: True, 2: False, 3: False}


def test_the_trainings_below_may_differ_from_that_of_the_cell() -> None:
    """Of 15 levels with 150 epochs and 160 at the end, as in the program beside Gadhikar and Burkholz (ICLR 2024)."""
    long = cell({"levels": 2, "train": {"epochs": 5, "lr": 0.2}}, train={"epochs": 3, "batch_size": 32})
    trained = [node.spec["train"] for node in long.needed("train") if node.stage == "train"]
    assert trained[0] == {"epochs": 3, "batch_size": 32} and trained[1:] == [trained[1]] * 2
    assert trained[1] == cell(None, train={"epochs": 5, "lr": 0.2, "batch_size": 32}).nodes["train"].spec["train"]
    same = [cell({"levels": 2, **more}).id for more in ({}, {"train": {}}, {"train": {"epochs": 2}})]
    assert same == same[:1] * 3


def test_a_point_to_rewind_to_is_in_the_training_that_is_rewound() -> None:
    late = {"levels": 2, "rewind": "4ep"}
    refuse_misfits(cell(late | {"train": {"epochs": 5}}), None, "here")
    with pytest.raises(UserError, match=r"ticket.rewind: is after the end of a training of 2 epochs"):
        refuse_misfits(cell(late), None, "here")
    with pytest.raises(UserError, match=r"ticket.rewind: is after the end of a training of 3 epochs"):
        refuse_misfits(cell(late | {"train": {"epochs": 3}}, train={"epochs": 9}), None, "here")


def test_what_must_be_handed_on_is_said() -> None:
    assert "carries" not in cell({"levels": 2}).nodes["init"].spec
    for more in ({"reset": "signs"}, {"reset": "norm"}):
        assert cell({"levels": 2, **more}).nodes["init"].spec["carries"]
    assert cell({"levels": 2}, mask="erk", density=0.5, rule="rigl").nodes["init"].spec["carries"]


REFUSED: dict[str, tuple[Any, str]] = {
    "a rate of 1": ({"rate": 1.0}, r"ticket.rate: must be above 0 and below 1"),
    "a kind": ({"kind": "lf"}, r"ticket.kind: unknown kind .found 'lf'.*did you mean 'lt'"),
    "half a level": ({"levels": 1.5}, r"ticket.levels: must be a whole number"),
    "a score": ({"score": "snap"}, r"ticket.score: unknown score"),
    "a drawn score": ({"score": {"name": "random", "exact": False}}, r"ticket.score.exact: a level keeps an exact"),
    "layers": ({"layers": "ekr"}, r"ticket.layers: .*did you mean 'er'"),
    "a length": ({"rewind": "2 epochs"}, r"ticket.rewind: is no length of time"),
    "two ways": ({"kind": "reinit", "rewind": "2ep"}, r"ticket.rewind: kind reinit draws weights anew"),
    "nothing at all": ({"reset": "nothing", "rewind": "2ep"}, r"ticket.reset: leaves all weights as trained"),
    "a typing error": ({"level": 3}, r"ticket.level: unknown key .*did you mean 'levels'"),
    "a number": (3, r"ticket: must be a mapping"),
    "a training by number": ({"train": 150}, r"ticket.train: must say what differs below"),
    "a training's option": ({"train": {"epoch": 5}}, r"ticket.train.epoch: unknown key .*did you mean 'epochs'"),
    "growing": ({"levels": 2, "rate": 0.5, "density": 0.6}, r"ticket.density: is above what level 1 leaves.*found 0.6"),
    "growing lists": ({"densities": [0.3, 0.4]}, r"ticket.densities: must fall from level to level"),
    "too many levels": ({"levels": 3, "densities": [0.3, 0.1]}, r"ticket.levels: there are 2 densities"),
    "two paths": ({"densities": [0.3], "rate": 0.2}, r"ticket.densities: says what every level keeps"),
    "other data": ({"masks_of": {"data": "mnist"}}, r"ticket.masks_of: masks are taken over on one data set"),
    "other levels": ({"masks_of": {"ticket.levels": 2}}, r"masks are taken over level by level"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    ticket, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        cell(ticket)


def test_axes() -> None:
    def axis(name: str, ticket: Any = None, **more: Any) -> Any:
        return axis_value(RAW | more | ({} if ticket is None else {"ticket": ticket}), name, "here")

    assert axis("ticket.levels") == 0 and axis("ticket.density") == 1.0 and axis("ticket.kind") is None
    assert axis("ticket") == "none" and axis("ticket", {"levels": 3}) == "lt 3"
    assert axis("ticket.density", {"levels": 2}) == 0.64 and axis("ticket.density", {"levels": 16}) == 0.0281474976711
    assert axis("ticket.density", {"levels": 3, "rate": 0.5, "density": 0.1}) == 0.1
    assert axis("ticket.density", {"levels": 2, "rate": 0.5}, mask="erk", density=0.4) == 0.1
    assert axis("ticket.kind", {"levels": 3}) == "lt" and axis("ticket.kind", {"kind": "lrr"}) == "lrr"
    assert axis("ticket.score", {"levels": 3}) == "magnitude" and axis("ticket.score", {"score": "snip"}) == "snip"


def test_densities_of_the_published_ladder() -> None:
    left = [round(100 * (1 - density_at({"levels": 16}, level, 1.0))) for level in range(1, 17)]
    assert left == [20, 36, 49, 59, 67, 74, 79, 83, 87, 89, 91, 93, 95, 96, 96, 97]  # it writes 94, 95 for 94.5, 95.6


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    study = tmp_path / "studies" / "tiny"
    study.mkdir(parents=True)
    block = {"seeds": [0, 1], "cell": RAW}
    (study / "study.yaml").write_text(yaml.safe_dump({"title": "t", "paper": "p", "scales": {"tiny": block}}))
    rungs = {"ticket.levels": [1, 2, 3]}
    cells = [{}, {"ticket.kind": ["lt", "random"]} | rungs]
    cells.append({"ticket.kind": "reinit", "ticket.masks_of": {"ticket.kind": "lt"}} | rungs)
    (study / "ladder.yaml").write_text(yaml.safe_dump(EXHIBIT | {"scales": {"tiny": {"cells": cells}}}))
    return Plan({"studies": ["tiny"], "scale": "tiny", "device": "cpu"}, tmp_path)


def test_no_bundle_reads_itself_and_all_are_made_in_some_order(plan: Plan) -> None:
    bundles = plan.bundles("tiny", "ticket")
    assert sum(len(bundle.nodes) for bundle in bundles.values()) == 9
    made, waiting = set[str](), set(bundles)
    while waiting:
        reads = {
            name: set(plan.inputs("ticket", name, "init") + plan.inputs("ticket", name, "ticket")) for name in waiting
        }
        ready = {name for name, files in reads.items() if all("inits/" in f or f in made for f in files)}
        assert ready, "a cycle"
        made |= {f"results/tickets/{name}.safetensors" for name in ready}
        waiting -= ready
    trained = [f for name in plan.bundles("tiny", "train") for f in plan.inputs("train", name, "init")]
    assert set(trained) == made | {f"results/inits/{name}.safetensors" for name in plan.bundles("tiny", "init")}


def test_a_job_carries_the_trainings_below_exactly_as_stage_train_has_them(plan: Plan) -> None:
    own = {}
    for name in plan.bundles("tiny", "train"):
        job = jobs.load(plan.job("train", name))
        own |= {task.id: (task.spec, task.code, task.methods, dict(job.env)) for task in job.cells}
    below = {}
    for name in plan.bundles("tiny", "ticket"):
        more = jobs.load(plan.job("ticket", name)).more
        if "train" in more:
            job = jobs.load(jobs.canonical(more["train"]))
            below |= {task.id: (task.spec, task.code, task.methods, dict(job.env)) for task in job.cells}
    assert len(below) == 3 and below == {identity: own[identity] for identity in below}


def test_the_training_of_a_level_costs_once(plan: Plan) -> None:
    train, ticket = spent(plan, "tiny", "train"), spent(plan, "tiny", "ticket")
    nodes = plan.study("tiny").nodes("train")
    one = plan.seed_seconds(nodes[0])
    assert all(plan.seed_seconds(node) == one for node in nodes)
    assert train + ticket == pytest.approx(2 * (len(nodes) * one + 9))
    assert ticket == pytest.approx(2 * (3 * one + 9))  # the dense network and two levels of lt


def test_a_ticket_of_a_dense_start_is_a_line_and_the_dense_network_a_reference() -> None:
    names = ("mask", "ticket.density", "ticket.kind")
    raws = [{}, {"ticket": {"levels": 1}}, {"ticket": {"levels": 2}}]
    axes = [{name: axis_value(RAW | raw, name, "here") for name in names} for raw in raws]
    shown = [{"id": str(number), "axes": place, "seeds": [0]} for number, place in enumerate(axes)]
    found = arrange({"name": "n", "x": "ticket.density", "hue": "ticket.kind"}, shown)
    assert [(line.reference, [(x, c["id"]) for x, c in line.cells]) for line in found.series] == [
        (False, [(0.64, "2"), (0.8, "1")]),
        (True, [(None, "0")]),
    ]
    assert found.hues == [("lt",)]
