"""The tricks of a cell: spellings, identities, axes, what the plan refuses; and initialisations that scale others."""

from __future__ import annotations

from typing import Any

import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.plan.digest import stage_modules
from sparse_ortho.plan.grid import axis_value, overlay
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.options import defaults
from sparse_ortho.registry import available, resolve

RAW: dict[str, Any] = {
    **{"data": "digits", "model": {"name": "mlp", "width": 64, "activation": "relu"}, "mask": "erk", "density": 0.2},
    **{"init": "kaiming", "train": {"epochs": 10, "batch_size": 64}},
}


def train_node(**change: Any) -> Any:
    return resolve_cell(RAW | change, "here").nodes["train"]


@pytest.mark.parametrize("off", [None, {}, "none", {"soft": None}, {"soft": "none", "ghost": False}])
def test_a_cell_without_tricks_is_the_cell_it_was(off: Any) -> None:
    assert train_node(tricks=off) == train_node()
    assert "tricks" not in train_node().spec


SPELLINGS: list[tuple[Any, Any]] = [
    ("soft", {"soft": {}}),
    ({"soft": True}, {"soft": {}}),
    ({"soft": "swish"}, {"soft": {}}),
    ({"soft": "mish"}, {"soft": {"kind": "mish"}}),
    ({"soft": {"kind": "mish", "fraction": 0.5}}, {"soft": {"kind": "mish"}}),
    ({"soft": "mish", "soft.fraction": 0.3}, {"soft": {"kind": "mish", "fraction": 0.3}}),
    ({"soft": True, "soft.fraction": 0.3}, {"soft": {"fraction": 0.3}}),
    ({"smoothing": 0.2}, {"smoothing": {"alpha": 0.2}}),
    ({"ghost": "identity", "smoothing": 0.1}, {"ghost": {"kind": "identity"}, "smoothing": {}}),
]


@pytest.mark.parametrize(("said", "meant"), SPELLINGS)
def test_spellings(said: Any, meant: Any) -> None:
    node = train_node(tricks=said)
    assert node.spec["tricks"] == meant
    assert node.id.startswith(f"digits-mlp-erk-kaiming-{'-'.join(meant)}-d0.2-")


@pytest.mark.parametrize("name", available()["tricks"])
def test_a_trick_is_part_of_the_training_alone(name: str) -> None:
    change = {"ghost": {"kind": "identity"}}.get(name, {})
    plain, nodes = resolve_cell(RAW, "here").nodes, resolve_cell(RAW | {"tricks": {name: change or True}}, "here").nodes
    assert [stage for stage in plain if plain[stage] != nodes[stage]] == ["train"]
    written = defaults(resolve("tricks", name)) | change
    assert train_node(tricks={name: written}).id == nodes["train"].id
    mine = {m for m in stage_modules("train", nodes["train"].methods) if m.startswith("sparse_ortho.tricks")}
    files = {resolve("tricks", other).partition(":")[0] for other in available()["tricks"]}
    assert mine & files == {resolve("tricks", name).partition(":")[0]}


@pytest.mark.parametrize(
    ("tricks", "axes"),
    [
        (None, {"tricks": "none", "tricks.soft": "none", "tricks.soft.fraction": None}),
        ("soft", {"tricks": "soft", "tricks.soft": "on"}),
        ({"soft": "mish", "ghost": None}, {"tricks": "soft", "tricks.soft": "mish", "tricks.ghost": "none"}),
        ({"soft": True, "ghost": "identity"}, {"tricks": "ghost+soft", "tricks.soft": "on"}),
        ({"smoothing": 0.1}, {"tricks.smoothing": 0.1}),
        (
            {"soft": {"kind": "mish", "fraction": 0.3}},
            {"tricks.soft": "mish, fraction 0.3", "tricks.soft.fraction": 0.3},
        ),
    ],
)
def test_tricks_are_axes(tricks: Any, axes: dict[str, Any]) -> None:
    cell = RAW | {"tricks": tricks}
    assert {axis: axis_value(cell, axis, "here") for axis in axes} == axes


def test_a_grid_switches_one_trick_and_keeps_the_others() -> None:
    base = RAW | {"tricks": {"soft": "mish"}}
    assert overlay(base, {"tricks.ghost": "identity"}, "here")["tricks"] == {"soft": "mish", "ghost": "identity"}
    assert overlay(base, {"tricks.soft": None}, "here")["tricks"] == {"soft": None}
    assert overlay(base, {"tricks": None}, "here")["tricks"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tricks": {"sft": True}}, "here.tricks: unknown trick .*did you mean 'soft'"),
        ({"tricks": 3}, "here.tricks: must map tricks to what they are told"),
        ({"tricks": {"soft": "swich"}}, "here.tricks.soft.kind: .*'swish'"),
        ({"tricks": {"soft": {"fracton": 1}}}, "here.tricks.soft.fracton: unknown key .*did you mean 'fraction'"),
        ({"tricks": {"soft": {"name": "swish"}}}, "here.tricks.soft.name: unknown key"),
        ({"tricks": {"soft": {"fraction": 0}}}, "here.tricks.soft.fraction: out of range"),
        ({"tricks": {"soft": {"beta_max": -1}}}, "here.tricks.soft.beta_max: must be a finite number above 0"),
        ({"tricks": {"soft": {"kind": "mish", "learnable": True}}}, "learnable: only swish and pswish have a beta"),
        ({"tricks": "soft", "model": "mlp"}, "takes the place of relu, .*'model.activation tanh'"),
        ({"tricks": {"smoothing": 0.95}}, r"smoothing.alpha: out of range \(found 0.95\); allowed: \(0, 0.9\]"),
        ({"tricks": {"smoothing": 0.1}, "train": {"label_smoothing": 0.1}}, "labels are smoothed twice"),
        ({"tricks": {"soft.fraction": 0.3}}, "here.tricks.soft.fraction: soft is off"),
        ({"tricks": "ghost", "train": {"ranks": 2}}, "here.tricks.ghost: has parameters of its own"),
        ({"tricks": {"ghost": {"always_on": True}}, "train": {"ema": 0.9}}, "train.ema averages no parameters"),
        ({"init": {"name": "gradinit", "base": "kaimin"}}, "here.init.base: unknown init .*did you mean 'kaiming'"),
        ({"init": {"name": "gradinit", "base": "metainit"}}, "here.init.base: starts from another initialis"),
        ({"mask": "snip", "score_init": "gradinit"}, "here.score_init: reads images"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        resolve_cell(RAW | change, "here")


def test_an_initialisation_that_scales_another_reads_the_data_and_its_code() -> None:
    nodes = resolve_cell(RAW | {"init": {"name": "gradinit", "base": "eoi"}}, "here").nodes
    assert nodes["init"].inputs == {"mask": nodes["mask"].id, "data": nodes["data"].id}
    assert resolve("inits", "eoi") in nodes["init"].methods
    kaiming = resolve_cell(RAW | {"init": "gradinit"}, "here").nodes["init"]
    assert resolve("inits", "eoi") not in kaiming.methods and resolve("inits", "kaiming") in kaiming.methods
