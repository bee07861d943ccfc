"""Signs of another ladder: on vectors written out, against whole runs, and in the plan."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from sparse_ortho.artifacts import read_tensors
from sparse_ortho.errors import UserError
from sparse_ortho.plan.identity import Cell, resolve_cell
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages import single
from sparse_ortho.stages.bundle import Context
from sparse_ortho.store import Store
from sparse_ortho.tickets.resets import signed

RAW: dict[str, Any] = {
    "data": "digits",
    "model": {"name": "mlp", "depth": 3, "width": 16, "activation": "relu"},
    "init": "kaiming",
    "train": {"epochs": 20, "batch_size": 64, "lr": 0.1},
}
LADDER = {"levels": 2, "rate": 0.5}


def cell(**ticket: Any) -> Cell:
    return resolve_cell(RAW | {"ticket": LADDER | ticket}, "here")


def test_signs_are_theirs_amplitudes_ours_and_what_they_lack_keeps_its_own() -> None:
    ours = {"w": torch.tensor([0.5, -0.5, 0.25, -0.25, 0.0, -1.0, 3.0, 4.0]), "b": torch.tensor([-1.0])}
    theirs = {"w": torch.tensor([-9.0, -9.0, 0.0, -0.0, 7.0, 8.0, -1e-30, 2.0]), "b": torch.tensor([5.0])}
    found = signed(ours, theirs, {"w": None})
    assert found["w"].tolist() == [-0.5, -0.5, 0.25, -0.25, 0.0, 1.0, -3.0, 4.0]
    assert found["b"].tolist() == [-1.0]  # no weight of a mask
    assert signed(ours, {}, {"w": None}) == ours
    assert math.copysign(1, found["w"][4].item()) == 1


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    patch, folder, before = pytest.MonkeyPatch(), tmp_path_factory.mktemp("signs"), dict(os.environ)
    patch.chdir(folder)
    context = Context(Store(folder / "store"), lambda line: None, 1e9)

    def run(**ticket: Any) -> dict[int, dict[str, np.ndarray]]:
        """Level -> tensors of the cell's own ladder."""
        resolved = cell(**ticket)
        place = single.main(resolved, [0], Plan({"device": "cpu"}), context).parent
        return dict(levels(resolved, place))

    yield run
    patch.undo()
    os.environ.clear()  # a run sets up the environment of its jobs, and these run in this process
    os.environ.update(before)


def levels(resolved: Cell, place: Path) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    known = {node.id: node for node in resolved.every()}
    node = resolved.nodes["init"]
    while True:
        tensors = [read_tensors(file, f"{node.id}/0/")[0] for file in place.glob("*.safetensors")]
        yield node.spec.get("level", 0), next(found for found in tensors if found)
        if node.stage == "init":
            return
        node = known[node.inputs["init"]]


def weights(tensors: dict[str, np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    for name, mask in tensors.items():
        if name.startswith("masks/"):
            yield tensors[name.replace("masks/", "weights/")], mask, name.removeprefix("masks/")


@pytest.mark.parametrize("masks", [True, False])
def test_a_ladder_has_the_signs_of_another_at_every_level_and_its_own_amplitudes(runs: Any, masks: bool) -> None:
    """With their masks too it is what the authors of the resets compare: rewound weights, learnt masks and signs."""
    theirs = runs(kind="lrr")
    told = {"signs_of": {"ticket.kind": "lrr"}} | ({"masks_of": {"ticket.kind": "lrr"}} if masks else {})
    ours, start = runs(**told), theirs[0]
    flipped = 0
    for level in sorted(ours.keys() - {0}):
        for weight, mask, name in weights(ours[level]):
            other, init = theirs[level][f"weights/{name}"], start[f"weights/{name}"]
            assert np.array_equal(np.abs(weight[mask]), np.abs(init[mask])) and not weight[~mask].any()
            shared = mask & (other != 0)
            assert np.array_equal(np.sign(weight[shared]), np.sign(other[shared]))
            alone = mask & (other == 0)
            assert np.array_equal(weight[alone], init[alone]), "nothing is left of the level before"
            assert not masks or np.array_equal(mask, theirs[level][f"masks/{name}"])
            flipped += int((np.sign(weight[mask]) != np.sign(init[mask])).sum())
    assert flipped > 0
    assert set(ours) == ({0, 2} if masks else {0, 1, 2}), "with both given, nothing has to be trained in between"


def test_weights_drawn_anew_may_have_the_signs_of_a_ticket(runs: Any) -> None:
    theirs, taken = runs(), {"ticket.kind": "lt"}
    ours, plain = runs(kind="reinit", masks_of=taken, signs_of=taken), runs(kind="reinit", masks_of=taken)
    for weight, mask, name in weights(ours[2]):
        assert np.array_equal(np.sign(weight[mask]), np.sign(theirs[2][f"weights/{name}"][mask]))
        assert np.array_equal(np.abs(weight), np.abs(plain[2][f"weights/{name}"]))
        assert not np.array_equal(weight, plain[2][f"weights/{name}"])


def test_signs_are_of_the_same_level_and_a_part_of_the_identity() -> None:
    ours, theirs = cell(signs_of={"ticket.kind": "lrr"}), cell(kind="lrr")
    assert ours.nodes["init"].inputs["signs"] == theirs.nodes["init"].id
    assert len({cell().id, ours.id, cell(signs_of={"ticket.reset": "amplitudes"}).id}) == 3
    assert cell(signs_of=None, masks_of=None).id == cell().id
    below = next(n for n in ours.needed("train") if n.id == ours.nodes["init"].inputs["init"])
    assert below.inputs["signs"] == cell(kind="lrr", levels=1).nodes["init"].id and below.spec["level"] == 1


@pytest.mark.parametrize(
    ("signs", "message"),
    [
        ("lt", r"ticket.signs_of: must say what differs"),
        ({}, r"ticket.signs_of: must say what differs"),
        ({"ticket.levels": 1}, r"signs_of.ticket.levels: signs are taken over level by level"),
        ({"model.width": 8}, r"ticket.signs_of: signs are taken over on one data set and one network"),
        ({"ticket.kind": "x"}, r"signs_of.ticket.kind: unknown kind"),
    ],
)
def test_refused(signs: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cell(signs_of=signs)


def test_a_job_reads_the_tickets_whose_signs_it_takes(tmp_path: Path) -> None:
    study = tmp_path / "studies" / "tiny"
    study.mkdir(parents=True)
    block = {"seeds": [0], "cell": RAW}
    (study / "study.yaml").write_text(yaml.safe_dump({"title": "t", "paper": "p", "scales": {"tiny": block}}))
    exhibit = {"kind": "outcomes", "title": "t", "caption": "c", "category": "k", "x": "ticket.density"}
    exhibit |= {"hue": "ticket.kind", "quantities": ["test_accuracy_last"]}
    ladder = {"ticket": LADDER | {"signs_of": {"ticket.kind": "lrr"}}}
    (study / "signs.yaml").write_text(yaml.safe_dump(exhibit | {"scales": {"tiny": {"cells": [ladder]}}}))
    plan = Plan({"studies": ["tiny"], "scale": "tiny", "device": "cpu", "bundle": 1}, tmp_path)
    ours, theirs = cell(signs_of={"ticket.kind": "lrr"}).nodes["init"].id, cell(kind="lrr").nodes["init"].id
    held = {node.id: name for name, bundle in plan.bundles("tiny", "ticket").items() for node in bundle.nodes}
    wanted = [f"results/tickets/{held[theirs]}.safetensors"]
    assert plan.inputs("ticket", held[ours], "ticket", "signs") == plan.inputs("ticket", held[ours], "signs") == wanted
    assert plan.inputs("ticket", held[ours], "ticket") == []
