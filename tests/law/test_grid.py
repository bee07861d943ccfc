"""From lists to cells: products, exclusions, overlays and axes, on examples written out."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_ortho.errors import UserError
from sparse_ortho.plan.config import Block, Exhibit, Grid
from sparse_ortho.plan.grid import KEYS, axes_of, axis_value, named, overlay, products, raw_cells

BASE = {
    "data": "digits",
    "model": {"name": "mlp", "depth": 3, "width": 16},
    "init": {"name": "eoi", "gain": 2.0},
    "mask": {"score": "random", "layers": "erk"},
    "train": {"epochs": 2, "lr": 0.05},
}


def cells(entries: list[dict[str, Any]], exclude: list[dict[str, Any]] | None = None, **base: Any) -> list[Any]:
    block = Block(seeds=[0], cell=base or {"data": "digits"})
    return list(raw_cells(block, Grid(cells=entries, exclude=exclude or []), "here"))


def exhibit(**words: Any) -> Exhibit:
    scales = {"quick": {"cells": [{}]}}
    return Exhibit(kind="table", title="", caption="", category="", scales=scales, **words)


# products ----------------------------------------------------------------------------------------------------------


def test_lists_are_multiplied_and_a_value_stands_for_itself() -> None:
    assert list(products({"mask": ["erk", "uniform"], "density": [0.1, 0.2], "init": "eoi"}, "here")) == [
        {"mask": "erk", "density": 0.1, "init": "eoi"},
        {"mask": "erk", "density": 0.2, "init": "eoi"},
        {"mask": "uniform", "density": 0.1, "init": "eoi"},
        {"mask": "uniform", "density": 0.2, "init": "eoi"},
    ]
    assert list(products({}, "here")) == [{}]


@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 9), min_size=1, max_size=3) | st.integers(0, 9))
)
def test_a_product_holds_every_combination_once(entry: dict[str, Any]) -> None:
    lists = {key: value if isinstance(value, list) else [value] for key, value in entry.items()}
    found = [tuple(sorted(choice.items())) for choice in products(entry, "here")]
    sizes = [len(value) for value in lists.values()]
    positions = itertools.product(*map(range, sizes))
    assert sorted(found) == sorted(
        tuple(sorted((k, lists[k][i]) for k, i in zip(lists, p, strict=True))) for p in positions
    )


def test_a_list_in_a_list_is_one_value() -> None:
    found = list(products({"train.milestones": [[0.5], [0.25, 0.75]]}, "here"))
    assert found == [{"train.milestones": [0.5]}, {"train.milestones": [0.25, 0.75]}]


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(UserError, match="here.mask: is an empty list"):
        list(products({"density": [0.1], "mask": []}, "here"))


def test_entries_add_up_in_their_order() -> None:
    found = cells([{"mask": ["erk", "uniform"], "density": 0.1}, {"mask": "dense"}])
    assert [(cell["mask"], cell.get("density")) for cell in found] == [("erk", 0.1), ("uniform", 0.1), ("dense", None)]


# exclusions --------------------------------------------------------------------------------------------------------

SQUARE = [{"mask": ["erk", "uniform"], "density": [0.1, 1], "init": ["eoi", {"name": "eoi", "gain": 2.0}]}]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ([], 8),
        ([{"mask": "erk"}], 4),
        ([{"mask": "erk", "density": 0.1}], 6),
        ([{"density": 1.0}], 4),
        ([{"init": "eoi"}], 0),
        ([{"init.gain": 2.0}], 4),
        ([{"init.gain": None}], 4),
        ([{"init.gain": 2.0, "mask": "erk", "density": 1}], 7),
        ([{"mask": "erk", "density": 0.1}, {"mask": "uniform"}], 2),
        ([{"mask": "ERK"}], 8),
        ([{"model": None}], 0),
    ],
)
def test_a_cell_is_left_out_when_a_whole_pattern_matches(exclude: list[dict[str, Any]], left: int) -> None:
    assert len(cells(SQUARE, exclude)) == left


def test_an_unknown_axis_in_an_exclusion_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="here.exclude: unknown axis .*did you mean 'density'"):
        cells(SQUARE, [{"densty": 0.1}])


# overlay -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("over", "changed"),
    [
        ({}, {}),
        ({"density": 0.1}, {"density": 0.1}),
        ({"data": "mnist"}, {"data": "mnist"}),
        ({"init": "eoi"}, {}),  # the same name keeps its options
        ({"init": "kaiming"}, {"init": "kaiming"}),  # another one has none of them
        ({"init": {"name": "kaiming"}}, {"init": {"name": "kaiming"}}),
        ({"init": {"name": "eoi", "bias_std": 0.1}}, {"init": {"name": "eoi", "gain": 2.0, "bias_std": 0.1}}),
        ({"init": {"gain": 3.0}}, {"init": {"name": "eoi", "gain": 3.0}}),
        ({"init.gain": 3.0}, {"init": {"name": "eoi", "gain": 3.0}}),
        ({"init.bias_std": 0.1}, {"init": {"name": "eoi", "gain": 2.0, "bias_std": 0.1}}),
        ({"init.name": "kaiming"}, {"init": {"name": "kaiming", "gain": 2.0}}),
        ({"data.validation": 0.2}, {"data": {"name": "digits", "validation": 0.2}}),
        ({"model.width": 32, "model.depth": 4}, {"model": {"name": "mlp", "depth": 4, "width": 32}}),
        ({"train": {"lr": 0.1}}, {"train": {"epochs": 2, "lr": 0.1}}),
        ({"train.momentum": 0.5}, {"train": {"epochs": 2, "lr": 0.05, "momentum": 0.5}}),
        ({"mask": "uniform"}, {"mask": "uniform"}),
        ({"mask": {"score": "snip"}}, {"mask": {"score": "snip", "layers": "erk"}}),
        ({"mask.layers": "uniform"}, {"mask": {"score": "random", "layers": "uniform"}}),
        ({"score_init": "orthogonal"}, {"score_init": "orthogonal"}),
        ({"score_init.gain": 1.0, "score_init": "eoi"}, {"score_init": {"name": "eoi", "gain": 1.0}}),
        ({"init": "kaiming", "init.gain": 3.0}, {"init": {"name": "kaiming", "gain": 3.0}}),
        ({"init.gain": 3.0, "init": "kaiming"}, {"init": {"name": "kaiming", "gain": 3.0}}),  # in either order
        ({"fixed_seeds": {"mask": 0}}, {"fixed_seeds": {"mask": 0}}),
        ({"mask": None}, {"mask": None}),
    ],
    ids=str,
)
def test_what_is_laid_over_a_cell(over: dict[str, Any], changed: dict[str, Any]) -> None:
    before = copy.deepcopy(BASE)
    assert overlay(BASE, over, "here") == BASE | changed
    assert before == BASE


def test_options_of_a_bare_name_are_merged_too() -> None:
    assert overlay({"init": "eoi"}, {"init.gain": 3.0}, "here") == {"init": {"name": "eoi", "gain": 3.0}}
    assert overlay({}, {"train.lr": 0.1}, "here") == {"train": {"lr": 0.1}}


def test_cells_share_no_values() -> None:
    """To change one afterwards changes no other, nor the study."""
    over = {"init": {"name": "isometry", "steps": [1]}}
    one, other = overlay(BASE, over, "here"), overlay(BASE, over, "here")
    one["model"]["width"], one["init"]["steps"][0], one["train"]["lr"] = 99, 99, 99
    assert other == overlay(BASE, over, "here") and BASE["train"] == {"epochs": 2, "lr": 0.05}
    assert over == {"init": {"name": "isometry", "steps": [1]}}


@pytest.mark.parametrize("over", [{"densty": 0.1}, {"densty.x": 0.1}])
def test_an_unknown_key_is_refused_with_the_nearest(over: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="here.densty: unknown key .*did you mean 'density'"):
        overlay(BASE, over, "here")


def test_an_option_of_something_that_has_none_is_refused() -> None:
    with pytest.raises(UserError, match="here.density: must be a name, or a mapping"):
        overlay({"density": 0.5}, {"density.x": 1}, "here")


def test_a_name_is_a_method_without_options() -> None:
    assert named("eoi", "here") == {"name": "eoi"}
    given = {"name": "eoi", "gain": 1.0}
    assert named(given, "here") == given and named(given, "here") is not given
    for value in (None, 3, ["eoi"]):
        with pytest.raises(UserError, match="here: must be a name, or a mapping"):
            named(value, "here")


# axes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        ("data", "digits"),
        ("model", "mlp"),
        ("model.width", 16),
        ("model.activation", None),
        ("init", "eoi"),
        ("init.gain", 2.0),
        ("data.validation", None),
        ("mask", "random+erk"),
        ("mask.layers", "erk"),
        ("train.lr", 0.05),
        ("density", 1.0),  # absent: dense
        ("score_init", None),
    ],
)
def test_the_value_of_an_axis_is_what_was_written(axis: str, value: Any) -> None:
    assert axis_value(BASE, axis, "here") == value


def test_density_is_a_number_whatever_its_spelling() -> None:
    for value in (1, 1.0):
        assert isinstance(axis_value({"density": value}, "density", "here"), float)


def test_every_key_is_an_axis_and_nothing_else() -> None:
    for key in KEYS:
        axis_value({}, key, "here")
    with pytest.raises(UserError, match="here: unknown axis .*did you mean 'init'"):
        axis_value(BASE, "inti", "here")


def test_axes_are_the_common_ones_and_those_of_the_layout() -> None:
    found = axes_of(BASE | {"density": 0.1}, exhibit(rows=["init.gain"], columns=["mask"], hue="train.lr"), "here")
    assert found == {
        "data": "digits",
        "model": "mlp",
        "mask": "random+erk",
        "init": "eoi",
        "density": 0.1,
        "init.gain": 2.0,
        "train.lr": 0.05,
    }
    assert list(axes_of(BASE, exhibit(panels=["train.lr", "data"]), "here"))[-1] == "train.lr"


def test_another_exhibit_of_the_same_cells_has_the_same_raw_cells() -> None:
    found = cells([{"mask": ["erk", "uniform"], "density": [0.1, 0.2]}], **BASE)
    assert len(found) == 4 and all(cell["model"] == BASE["model"] for cell in found)
    assert [cell["mask"] for cell in found] == ["erk", "erk", "uniform", "uniform"]
