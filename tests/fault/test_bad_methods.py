"""A mistake in a trick, ticket, mask, rule, measurement, bench or exhibit ends in one sentence, before any job."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sparse_ortho import mask_files
from sparse_ortho.errors import UserError
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages.single import cell_of
from tests.conftest import ROOT

CONFIG = {"studies": ["tiny"], "scale": "tiny", "device": "cpu"}
NET = {"name": "mlp", "depth": 3, "width": 64, "activation": "relu"}  # a network that the plan knows by its shapes
SHAPES = {"layers.0.weight": (64, 64), "layers.1.weight": (64, 64), "layers.2.weight": (10, 64)}
CELL = {
    "data": "digits",
    "model": NET,
    "train": {"epochs": 2, "batch_size": 128, "lr": 0.05},
    "mask": "erk",
    "density": 0.3,
    "init": "kaiming",
}
EXHIBIT = {"kind": "table", "title": "A", "caption": "A", "category": "A", "rows": ["mask"], "columns": ["init"]}
DENSE = {"mask": "dense", "density": None}


def masks(name: str, **more: Any) -> dict[str, Any]:
    return {"mask": {"file": f"FILES/{name}", **more}, "density": None}


def layers_of(name: str, density: float | None) -> dict[str, Any]:
    layers = {"name": "transplanted", "file": f"FILES/{name}"}
    return {"mask": {"score": "random", "layers": layers}, "density": density}


def mask(**said: Any) -> dict[str, Any]:
    return {"mask": {"name": "snip", **said}}


def rule(name: str, **options: Any) -> dict[str, Any]:
    return {"rule": {"name": name, **options}}


def soft(**options: Any) -> dict[str, Any]:
    return {"tricks": {"soft": options}}


def ticket(**options: Any) -> dict[str, Any]:
    return {"ticket": options}


# what is wrong -> keys laid over the cell, words that the sentence must hold
CELLS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown trick": ({"tricks": "sfot"}, ["tricks", "'sfot'", "did you mean 'soft'"]),
    "unknown trick in a grid": ({"tricks.sfot": "swish"}, ["tricks", "'sfot'", "did you mean 'soft'"]),
    "tricks as a number": ({"tricks": 3}, ["tricks", "found 3", "ghost, smoothing, soft"]),
    "unknown option of a trick": (soft(kidn="swish"), ["tricks.soft.kidn", "did you mean 'kind'"]),
    "unknown soft activation": ({"tricks": {"soft": "swsh"}}, ["tricks.soft.kind", "'swsh'", "swish"]),
    "trick beyond the end": (soft(fraction=2), ["tricks.soft.fraction", "2.0", "(0, 1]"]),
    "a whole label smoothed": ({"tricks": {"smoothing": 1.0}}, ["tricks.smoothing.alpha", "(0, 0.9]"]),
    "labels smoothed twice": ({"tricks": "smoothing", "train.label_smoothing": 0.1}, ["train.label_smoothing"]),
    "an option of a trick that is off": ({"tricks.soft.fraction": 0.3}, ["tricks.soft.fraction", "soft is off"]),
    "soft activation without relu": ({"tricks": "soft", "model.activation": "tanh"}, ["tricks.soft", "tanh"]),
    "beta of an activation without one": (soft(kind="mish", beta0=2.0), ["tricks.soft.beta0", "'mish'", "pswish"]),
    "ghost convolutions of an mlp": ({"tricks": "ghost"}, ["tricks.ghost.kind", "mlp", "'conv1x1'", "identity"]),
    "ghost identities without a square": (
        {"tricks": {"ghost": "identity"}, "model": "lenet300_100"},
        ["tricks.ghost.kind", "lenet300_100", "'identity'"],
    ),
    "trick with parameters and ranks": (
        {"tricks": {"soft": {"kind": "pswish", "learnable": True}}, "train.ranks": 2},
        ["tricks.soft", "one rank", "found 2"],
    ),
    "ticket as a number": ({"ticket": 3}, ["ticket", "found 3", "levels"]),
    "unknown option of a ticket": (ticket(leves=2), ["ticket.leves", "did you mean 'levels'", "masks_of", "score"]),
    "negative levels": (ticket(levels=-1), ["ticket.levels", "-1", "0 to 100"]),
    "too many levels": (ticket(levels=101), ["ticket.levels", "101", "0 to 100"]),
    "rate above 1": (ticket(levels=2, rate=2), ["ticket.rate", "2.0", "below 1"]),
    "unknown kind of ticket": (ticket(kind="rienit"), ["ticket.kind", "did you mean 'reinit'"]),
    "unknown score of a ticket": (ticket(score="magnitud"), ["ticket.score", "did you mean 'magnitude'"]),
    "unknown layers of a ticket": (ticket(layers="echa"), ["ticket.layers", "density scheme", "'echa'"]),
    "convolutions of a network without": (ticket(tensors="conv"), ["ticket.tensors", "mlp has no convolution"]),
    "rewind point that is none": (ticket(rewind="2epp"), ["ticket.rewind", "'2epp'", "10ep"]),
    "rewind point after the end": (ticket(rewind="9ep"), ["ticket.rewind", "2 epochs", "'9ep'"]),
    "reinit that rewinds": (ticket(kind="reinit", rewind="1ep"), ["ticket.rewind", "reinit"]),
    "ticket denser than its start": (ticket(density=0.5), ["ticket.density", "0.5", "(0, 0.3]"]),
    "densities that rise": (ticket(levels=2, densities=[0.1, 0.2]), ["ticket.densities", "must fall"]),
    "fewer densities than levels": (ticket(levels=3, densities=[0.2, 0.1]), ["ticket.levels", "2 densities"]),
    "masks of a word": (ticket(masks_of="lt"), ["ticket.masks_of", "'lt'", "ticket.kind"]),
    "masks of nothing else": (ticket(levels=2, masks_of={}), ["ticket.masks_of", "must say what differs"]),
    "masks of an unknown key": (ticket(masks_of={"tickt.kind": "lt"}), ["masks_of.tickt", "did you mean 'ticket'"]),
    "masks of an unknown kind": (ticket(masks_of={"ticket.kind": "x"}), ["masks_of.ticket.kind", "'x'", "reinit"]),
    "masks of another network": (ticket(levels=2, masks_of={"model.width": 8}), ["masks_of", "one network"]),
    "masks of other levels": (ticket(levels=2, masks_of={"ticket.levels": 1}), ["masks_of", "level by level"]),
    "unknown structure": (mask(structure="kernl"), ["mask.structure", "did you mean 'kernel'"]),
    "unknown option of a structure": (mask(structure={"name": "block", "row": 2}), ["structure.row", "'rows'"]),
    "block without rows": (mask(structure={"name": "block", "rows": 0}), ["mask.structure.rows", "at least 1"]),
    "density that n:m does not have": (mask(structure="n_m"), ["density", "0.3", "allowed: 0.5"]),
    "five of four": (mask(structure={"name": "n_m", "n": 5}) | {"density": None}, ["structure", "5 of 4"]),
    "layers of n:m": ({"mask": {"layers": "erk", "structure": "n_m"}, "density": 0.5}, ["mask.layers", "'erk'"]),
    "fewer weights than a fan-in": (mask(structure="fan_in") | {"density": 0.001}, ["density", "fan_in", "8832"]),
    "structure and initialisation": (mask(structure="block") | {"init": "eoi"}, ["init", "eoi", "block"]),
    "structure and repair": (mask(structure="block", repair="flow"), ["mask.repair", "structure block"]),
    "unknown repair": (mask(repair="flwo"), ["mask.repair", "did you mean 'flow'"]),
    "unknown option of a repair": (mask(repair={"name": "flow", "x": 1}), ["mask.repair.x", "unknown key"]),
    "repair of a dense network": ({"mask": {"name": "dense", "repair": "flow"}}, ["mask.repair", "dense network"]),
    "unknown key of a mask": (mask(structur="block"), ["mask.structur", "did you mean 'structure'"]),
    "missing mask file": (masks("none.npz"), ["mask.file", "no such file", "none.npz"]),
    "mask file of another model": (masks("other.npz"), ["mask", "other.npz", "mlp", "allowed: 3 layers"]),
    "truncated npz": (masks("cut.npz"), ["cut.npz", "not a readable npz"]),
    "truncated safetensors": (masks("cut.safetensors"), ["cut.safetensors", "not a readable tensor file"]),
    "pickled masks": (masks("mask.pt"), ["mask.pt", "pickle", ".safetensors"]),
    "weights for masks": (masks("weights.npz"), ["weights.npz", "is no mask", "nonzero"]),
    "masks that keep nothing": (masks("zeros.npz"), ["zeros.npz", "keeps no weight"]),
    "mask file with another density": (masks("eye.npz") | {"density": 0.3}, ["density", "0.3", "0.015"]),
    "mask file with a word for density": (masks("eye.npz") | {"density": "low"}, ["density", "'low'", "(0, 1]"]),
    "mask file with a score": (masks("eye.npz", score="snip"), ["mask.score", "no score", "nonzero"]),
    "layers of a missing file": (layers_of("none.npz", 0.3), ["mask.layers.file", "no such file"]),
    "layers of another model": (layers_of("other.npz", 0.3), ["mask", "other.npz", "mlp"]),
    "layers without a weight": (layers_of("eye.npz", 0.0002), ["layers.file", "at this density", "layers.2.weight"]),
    "unknown rule": ({"rule": "rgil"}, ["rule", "'rgil'", "did you mean 'rigl'"]),
    "unknown option of a rule": (rule("rigl", evry="9it"), ["rule.evry", "did you mean 'every'"]),
    "rule that is never": (rule("rigl", every="0it"), ["rule.every", "at least one step"]),
    "length without a unit": (rule("rigl", every="100"), ["rule.every", "100", "500it"]),
    "more than everything": (rule("rigl", fraction=2), ["rule.fraction", "2.0", "[0, 1]"]),
    "misspelt drop": (rule("sparse_momentum", drop="magnitud"), ["rule.drop", "did you mean 'magnitude'"]),
    "misspelt growth": (rule("sparse_momentum", growth="momentm"), ["rule.growth", "did you mean 'momentum'"]),
    "misspelt sharing": (rule("sparse_momentum", redistribution="momentm"), ["rule.redistribution", "'momentum'"]),
    "function of a missing module": (rule("dst", drop="nosuch:f"), ["rule.drop", "no module nosuch"]),
    "missing function": (rule("dst", drop="json:nosuch"), ["rule.drop", "'nosuch'", "loads"]),
    "function that takes other arguments": (rule("dst", growth="shlex:quote"), ["rule.growth", "(layers, counts)"]),
    "what SGD does not keep": (rule("dst", drop="magnitude_variance"), ["rule.drop", "Adam", "optimizer"]),
    "momentum that is off": (rule("sparse_momentum") | {"train.momentum": 0.0}, ["rule", "train.momentum"]),
    "rule on a dense network": (rule("rigl") | DENSE, ["rule", "dense", "'rigl'"]),
    "pruning upwards": (rule("gmp", final_density=0.5), ["rule.final_density", "0.3", "0.5"]),
    "rule of five of four": (rule("n_m", n=5, m=4) | DENSE, ["rule.n", "1 to 4"]),
    "range of a rule": (rule("dsr", target=0), ["rule.target", "above 0"]),
    "levels of edge-popup": (rule("edge_popup", final_density=0.1, levels=0), ["rule.levels", "at least 1"]),
    "unknown base": ({"init": {"name": "gradinit", "base": "kaimng"}}, ["init.base", "did you mean 'kaiming'"]),
    "base of a base": ({"init": {"name": "gradinit", "base": "metainit"}}, ["init.base", "'metainit'"]),
    "images before the mask": ({"mask": "snip", "score_init": "gradinit"}, ["score_init", "images"]),
}


def curve(name: str, **options: Any) -> dict[str, Any]:
    """An exhibit that measures."""
    cell = {"measure": {"name": name, **options}}
    return {"kind": "lines", "x": "density", "quantities": ["mean"], "cells": [cell]}


def table(*cells: dict[str, Any], **said: Any) -> dict[str, Any]:
    return {"cells": list(cells) or [{}], **said}


def times(cell: dict[str, Any], **said: Any) -> dict[str, Any]:
    return {"kind": "timing", "x": "bench.size", "quantities": ["seconds"], "cells": [cell], **said}


EXHIBITS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown measurement": (curve("jacobain"), ["measure", "did you mean 'jacobian'"]),
    "measured in the middle": (curve("jacobian", at="middle"), ["measure.at", "'middle'", "'init' or 'end'"]),
    "unknown option of a measurement": (curve("hessian", tpo=3), ["measure.tpo", "did you mean 'top'"]),
    "no eigenvalues": (curve("hessian", top=0), ["measure.top", "at least 1"]),
    "two seeds before training": (curve("connectivity"), ["measure.at", "trained", "end"]),
    "two seeds of one": (curve("connectivity", at="end") | {"seeds": [0]}, ["connectivity", "two seeds"]),
    "measurement in a table": (table({"measure": "hessian"}), ["measure", "kind table shows none", "spectrum"]),
    "surface of a line": (
        curve("landscape") | {"kind": "surface"},
        ["measure.dimensions", "kind surface", "found 1", "allowed: 2"],
    ),
    "spectrum of another measurement": (
        curve("layers") | {"kind": "spectrum"},
        ["measure.name", "spectrum", "'layers'", "hessian"],
    ),
    "unknown bench": (times({"bench": "matrixes"}), ["unknown bench", "did you mean 'matrices'"]),
    "bench of nothing": (times({"bench": {"name": "matrices", "size": 0}}), ["bench.size", "at least 1"]),
    "bench with a network": (times({"bench": "matrices", "model": "lenet5"}), ["model", "matrices has no network"]),
    "bench in a table": (table({"bench": "matrices"}), ["bench", "kind table shows none", "timing"]),
    "times without a bench": (times({}), ["bench", "required by kind timing", "matrices"]),
    "theory of another bench": (times({"bench": "matrices"}) | {"kind": "theory"}, ["bench.name", "rotations"]),
    "unknown axis": (table(rows=["maks"]), ["axis", "did you mean 'mask'"]),
    "option that no model has": (table(rows=["model.widht"]), ["model.widht", "did you mean 'width'"]),
    "trick that there is not": (table(rows=["tricks.sfot"]), ["tricks.sfot", "soft"]),
    "option that no ticket has": (table(rows=["ticket.levls"]), ["ticket.levls", "did you mean 'levels'"]),
    "unknown metric": (table(metric="test_acuracy_last"), ["metric", "did you mean 'test_accuracy_last'"]),
    "unknown quantity": (
        table(kind="outcomes", x="density", quantities=["denstiy"]),
        ["quantities", "did you mean 'density'"],
    ),
    "unknown curve": (table(kind="curves", y="trian_loss"), ["y", "did you mean 'train_loss'"]),
    "factor of three values": (
        table({"init": ["kaiming", "eoi", "orthogonal"]}, kind="factorial", rows=["init"], columns=["mask"]),
        ["factor init", "two levels"],
    ),
    "factorial with a gap": (
        table(
            {"init": "kaiming", "tricks.smoothing": [None, 0.1]},
            {"init": "eoi"},
            kind="factorial",
            rows=["init", "tricks.smoothing"],
            columns=["mask"],
        ),
        ["3 of the 4 combinations"],
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    mask_files.write(folder / "eye.npz", {name: np.eye(*shape, dtype=bool) for name, shape in SHAPES.items()})
    mask_files.write(folder / "zeros.npz", {name: np.zeros(shape, bool) for name, shape in SHAPES.items()})
    mask_files.write(folder / "other.npz", {"fc.weight": np.ones((3, 5), bool)})
    mask_files.write(folder / "whole.safetensors", {"fc.weight": np.ones((3, 5), bool)}, plain=True)
    weights: Any = {name: np.full(shape, 0.3) for name, shape in SHAPES.items()}
    np.savez(folder / "weights.npz", **weights)
    (folder / "cut.npz").write_bytes((folder / "eye.npz").read_bytes()[:200])
    (folder / "cut.safetensors").write_bytes((folder / "whole.safetensors").read_bytes()[:-3])
    (folder / "mask.pt").write_bytes(b"\x80\x02.")
    return folder


def placed(value: Any, files: Path) -> Any:
    """FILES/ in any text stands for the folder of mask files."""
    if isinstance(value, dict):
        return {key: placed(item, files) for key, item in value.items()}
    return value.replace("FILES", str(files)) if isinstance(value, str) else value


def plan(root: Path, exhibit: dict[str, Any]) -> None:
    """A study of one exhibit, planned to the last job."""
    grid = {key: exhibit[key] for key in ("cells", "seeds") if key in exhibit}
    said = {key: value for key, value in exhibit.items() if key not in grid}
    folder = root / "studies" / "tiny"
    folder.mkdir(parents=True)
    study = {"title": "T", "paper": "P", "scales": {"tiny": {"seeds": [0, 1], "cell": CELL}}}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    (folder / "shown.yaml").write_text(yaml.safe_dump(EXHIBIT | said | {"scales": {"tiny": grid}}))
    made = Plan(CONFIG, root)
    made.targets()
    for stage in ("mask", "init", "ticket", "train", "measure", "bench"):
        for name in made.bundles("tiny", stage):
            made.job(stage, name)


def one_sentence(words: list[str], make: Callable[[], object]) -> None:
    with pytest.raises(UserError) as caught:
        make()
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence, f"{word!r} is not in: {sentence}"


@pytest.mark.parametrize("mistake", CELLS)
def test_a_mistake_in_a_cell_is_one_sentence_of_the_plan_and_of_a_run(
    mistake: str, files: Path, tmp_path: Path
) -> None:
    over, words = CELLS[mistake]
    over = placed(over, files)
    one_sentence(words, lambda: plan(tmp_path, {"cells": [over]}))
    one_sentence(words, lambda: cell_of([*CELL.items(), *over.items()]))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("mistake", EXHIBITS)
def test_a_mistake_in_an_exhibit_is_one_sentence_of_the_plan(mistake: str, tmp_path: Path) -> None:
    exhibit, words = EXHIBITS[mistake]
    one_sentence(words, lambda: plan(tmp_path, exhibit))


def test_the_cell_without_a_mistake_is_planned_and_its_bench_too(tmp_path: Path) -> None:
    """The oracle of the tables above: what they are laid over is itself in order."""
    plan(tmp_path / "cell", {"cells": [{}]})
    plan(tmp_path / "bench", times({"bench": "matrices"}))
    plan(tmp_path / "measured", curve("jacobian"))


@pytest.mark.parametrize("key", ["bench", "measure"])
def test_a_run_refuses_what_only_exhibits_show(key: str) -> None:
    one_sentence([f"--set.{key}", "exhibit"], lambda: cell_of([(key, "matrices")]))


def test_the_program_ends_with_one_sentence_and_writes_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "workflow_scripts.run", "--set", "mask=erk", "ticket={levels: 101}"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "ticket.levels" in sentence and "0 to 100" in sentence
    assert list(tmp_path.iterdir()) == []
