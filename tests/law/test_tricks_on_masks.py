"""Every mask feeds every trick: chosen before training, of a ticket, of a run that rewires or did, and from a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparse_ortho import mask_files
from sparse_ortho.artifacts import read_tables
from sparse_ortho.budgets import budget
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.registry import available
from sparse_ortho.stages import single
from sparse_ortho.stages.bundle import Context
from sparse_ortho.store import Store

MODEL = {"name": "mlp", "depth": 4, "width": 16, "activation": "relu"}
RAW: dict[str, Any] = {
    **{"data": "digits", "model": MODEL, "init": "kaiming"},
    **{"train": {"epochs": 2, "batch_size": 256, "lr": 0.1}},
}
TRICKS: dict[str, Any] = {
    "tricks": {"soft": {"learnable": True}, "ghost": "identity", "smoothing": 0.1},
    "init": {"name": "gradinit", "iters": 2, "batch": 32},
}
SIZE = 64 * 16 + 2 * 16 * 16 + 16 * 10
Trained = dict[str, np.ndarray]


@dataclass
class Runs:
    """Cells run one by one, with one store."""

    context: Context
    store: Path

    def __call__(self, **cell: Any) -> tuple[dict[str, Any], Trained]:
        """Record and trained tensors."""
        resolved = resolve_cell(RAW | cell, "here")
        records = single.main(resolved, [0], Plan({"device": "cpu"}), self.context)
        wanted = f'"cell": "{resolved.id}"'
        (entry,) = (p for p in self.store.glob("train/*/*/entry.json") if wanted in p.read_text())
        result = self.context.store.get("train", entry.parent.name)
        assert result
        return read_tables([records])[0], dict(result.tensors)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    patch, folder, before = pytest.MonkeyPatch(), tmp_path_factory.mktemp("tricks"), dict(os.environ)
    patch.chdir(folder)
    yield Runs(Context(Store(folder / "store"), lambda line: None, 1e9), folder / "store")
    patch.undo()
    os.environ.clear()  # a run sets up the environment of its jobs, and these run in this process
    os.environ.update(before)


def masks_of(tensors: Trained) -> Trained:
    return {name.removeprefix("masks/"): value for name, value in tensors.items() if name.startswith("masks/")}


RIGL = {"mask": "erk", "density": 0.3, "rule": {"name": "rigl", "every": "4it"}}


def of_a_file(runs: Runs, cell: dict[str, Any]) -> dict[str, Any]:
    """The masks that a finished run has, as a file of the user's."""
    place = Path.cwd() / "mine.safetensors"
    mask_files.write(place, masks_of(runs(**cell)[1]))
    return {"mask": {"file": str(place)}}


STARTS: dict[str, tuple[Callable[[Runs], dict[str, Any]], int]] = {
    "density scheme": (lambda runs: {"mask": "erk", "density": 0.3}, budget(0.3, SIZE)),
    "score": (lambda runs: {"mask": "snip", "density": 0.3}, budget(0.3, SIZE)),
    "ticket": (lambda runs: {"ticket": {"levels": 2, "rate": 0.5}}, SIZE // 4),
    "ticket of a sparse start": (
        lambda runs: {"mask": "uniform", "density": 0.5, "ticket": {"kind": "lrr", "density": 0.2}},
        budget(0.2, SIZE),
    ),
    "while it rewires": (lambda runs: RIGL, budget(0.3, SIZE)),
    "what a rewiring run ended with": (lambda runs: of_a_file(runs, RIGL), budget(0.3, SIZE)),
}


@pytest.mark.parametrize("kind", STARTS)
def test_all_tricks_together_help_a_mask_from_anywhere(runs: Runs, kind: str) -> None:
    start, count = STARTS[kind]
    cell = start(runs)
    plain, _ = runs(**cell)
    record, tensors = runs(**cell, **TRICKS)
    assert record["status"] == plain["status"] == "ok"
    assert record["nonzeros"] == plain["nonzeros"] == count and record["weights"] == SIZE
    assert record["extra_parameters"] == 3 and record["extra_parameters_kept"] == 0  # a sharpness for each ReLU
    assert record["test_loss_last"] != plain["test_loss_last"]
    masks = masks_of(tensors)
    assert sum(int(mask.sum()) for mask in masks.values()) == count
    assert all(not tensors[f"weights/{name}"][~mask].any() for name, mask in masks.items())
    if "file" in str(cell):
        given = mask_files.read(Path(cell["mask"]["file"]), False)
        assert all(np.array_equal(masks[name], mask) for name, mask in given.items())


@pytest.mark.parametrize("trick", ["soft", "ghost", "smoothing", "init"])
def test_a_trick_changes_no_mask_that_is_chosen_before_training(trick: str) -> None:
    """So each trick is beside the same masks, whichever of all methods chose them."""
    told = {"init": TRICKS["init"]} if trick == "init" else {"tricks": {trick: TRICKS["tricks"][trick]}}
    for score in available()["scores"]:
        for layers in ("global", "erk", "uniform"):
            cell = RAW | {"mask": {"score": score, "layers": layers}, "density": 0.3}
            plain, helped = resolve_cell(cell, "here"), resolve_cell(cell | told, "here")
            assert plain.nodes["mask"].id == helped.nodes["mask"].id and plain.id != helped.id
            assert (plain.nodes["init"].id == helped.nodes["init"].id) == (trick != "init")
