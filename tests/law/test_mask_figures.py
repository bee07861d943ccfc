"""Exhibits of masks: layer collapse, density maps and pictures show hand-made numbers as they are."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np
import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.plan.collapses import check_collapse
from sparse_ortho.plan.config import Exhibit, parse
from sparse_ortho.report import collapse, layer_map, mask_pictures

NAMED: dict[str, Any] = {"study": "s", "scale": "quick", "name": "e", "title": "T", "caption": "", "category": "c"}
TABLE = NAMED | {"rows": ["model"], "columns": ["mask"]}


def cell(mask: str, density: float = 0.1, seeds: tuple[int, ...] = (0, 1)) -> dict[str, Any]:
    return {"id": f"{mask}-{density}", "axes": {"mask": mask, "density": density, "model": "mlp"}, "seeds": list(seeds)}


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def drawn(files: dict[str, Any]) -> list[dict[str, str]]:
    assert files["svg"].startswith(b"<?xml") and files["png"].startswith(b"\x89PNG")
    return read(files["csv"])


# collapse --------------------------------------------------------------------------------------------------------

EMPTY = {  # empty layers by mask, density and seed
    "snip": {0.1: (0, 0), 0.01: (0, 1), 0.001: (2, 2)},  # 2 and 1 powers of ten
    "magnitude": {0.1: (1, 1), 0.01: (0, 0), 0.001: (1, 1)},  # already the densest has an empty layer
    "synflow": {0.1: (0, 0), 0.01: (0, 0), 0.001: (0, 0)},
    "grasp": {0.1: (0, 0), 0.01: (0, None), 0.001: (1, None)},  # the second seed is not measured yet
}
CELLS = [cell(mask, density) for mask, found in EMPTY.items() for density in found]
ROWS = [
    {"cell": f"{mask}-{density}", "seed": seed, "quantity": name, "value": value, "status": "ok", "reason": None}
    for mask, found in EMPTY.items()
    for density, values in found.items()
    for seed, value in enumerate(values)
    for name in ("empty", "dead")
    if value is not None
]


def test_the_largest_compression_is_the_last_before_the_first_empty_layer() -> None:
    assert collapse.compression({0.1: 0, 0.01: 0, 0.001: 3}) == (pytest.approx(2), 0.001)
    assert collapse.compression({0.1: 0, 0.01: 1, 0.001: 0}) == (pytest.approx(1), 0.01)  # whole again is no matter
    assert collapse.compression({0.1: 1, 0.01: 0}) == (None, 0.1)
    assert collapse.compression({1.0: 0, 0.1: 0}) == (pytest.approx(1), None)


def test_the_table_of_collapse_is_this_text() -> None:
    told = collapse.render(TABLE, CELLS, ROWS)
    # seeds at 2 and 1: mean 1.5, standard deviation 0.707, t 12.7 / sqrt(2)
    assert "| model |        snip | magnitude |    synflow |       grasp |" in told["md"]
    assert "| mlp   | 1.50 ± 6.35 |      none | **≥ 3.00** | 2.00 1 of 2 |" in told["md"]
    assert "The grid: 1.00, 2.00, 3.00." in told["md"] and "≥" in told["html"] and r"$\ge$" in told["tex"]
    rows = {(row["mask"], row["seed"]): row for row in read(told["csv"])}
    assert float(rows["snip", "1"]["log10_compression"]) == pytest.approx(1)
    assert rows["snip", "1"]["empty_from"] == "0.01" and rows["snip", "1"]["bound"] == "exact"
    assert rows["synflow", "0"]["bound"] == "at least" and ("grasp", "1") not in rows


@pytest.mark.parametrize(
    ("changed", "measure", "told"),
    [({"rows": ["density"]}, "effective", "density is what"), ({}, "paths", "reads another")],
)
def test_a_table_of_collapse_that_makes_no_sense_is_refused_by_the_plan(changed: Any, measure: str, told: str) -> None:
    written = {"kind": "collapse", "title": "", "caption": "", "category": "", "rows": ["model"], "columns": ["mask"],
               "scales": {"quick": {"cells": [{}]}}}  # fmt: skip
    check_collapse(parse(Exhibit, written, "here"), ["effective"], "here")
    with pytest.raises(UserError, match=told):
        check_collapse(parse(Exhibit, written | changed, "here"), [measure], "here")


# densities of all methods ----------------------------------------------------------------------------------------


def layer(of: str, seed: int, position: int, density: float) -> dict[str, Any]:
    return {
        "cell": of,
        "seed": seed,
        "position": position,
        "layer": f"l{position}.weight",
        "size": 8,
        "density": density,
    }


def test_a_map_has_the_mean_of_every_layer() -> None:
    cells = [cell("erk"), cell("snip"), cell("refused")]
    rows = [layer("erk-0.1", 0, 0, 0.5), layer("erk-0.1", 1, 0, 0.25), layer("erk-0.1", 0, 1, 0.0)]
    rows += [layer("snip-0.1", 0, 0, 1.0), layer("snip-0.1", 7, 1, 0.9)]  # seed 7 is not planned
    found = {(row["mask"], row["layer"]): row for row in drawn(layer_map.render(NAMED | {"hue": "mask"}, cells, rows))}
    assert float(found["erk", "l0.weight"]["density"]) == 0.375 and found["erk", "l0.weight"]["n"] == "2"
    assert float(found["erk", "l1.weight"]["density"]) == 0 and float(found["snip", "l0.weight"]["density"]) == 1
    assert set(found) == {("erk", "l0.weight"), ("erk", "l1.weight"), ("snip", "l0.weight")}


def test_a_map_without_any_mask_is_a_figure_all_the_same() -> None:
    assert drawn(layer_map.render(NAMED | {"hue": "mask", "panels": ["density"]}, [cell("erk")], [])) == []


# pictures --------------------------------------------------------------------------------------------------------


def test_pixels_have_the_number_of_their_weights() -> None:
    mask = np.zeros((3, 4), dtype=bool)  # three units that see an image of 2 x 2
    mask[:, 1] = mask[0, 2] = True
    image, binary = mask_pictures.picture(mask)
    assert not binary and image.tolist() == [[0, 3], [1, 0]]
    colour = np.zeros((1, 12), dtype=bool)
    colour[0, [0, 4, 11]] = True  # red and green of the first pixel, blue of the last
    assert mask_pictures.picture(colour)[0].tolist() == [[2, 0], [0, 1]]
    plain, binary = mask_pictures.picture(np.eye(5, dtype=bool))
    assert binary and plain.tolist() == np.eye(5).tolist()  # five inputs are no image


def test_kernels_stand_in_columns_of_output_and_rows_of_input_channels() -> None:
    mask = np.zeros((2, 1, 2, 2), dtype=bool)
    mask[0, 0, 0, 1] = mask[1, 0, 1, 0] = True
    nan = math.nan
    np.testing.assert_array_equal(mask_pictures.kernels(mask), [[0, 1, nan, 0, 0], [0, 0, nan, 1, 0]])
    turned = mask_pictures.kernels(mask.transpose(1, 0, 2, 3))
    np.testing.assert_array_equal(turned, [[0, 1], [0, 0], [nan, nan], [0, 0], [1, 0]])
    assert mask_pictures.kernels(np.ones((20, 40, 1, 3), dtype=bool)).shape == (16 * 2 - 1, 16 * 4 - 1)
    assert mask_pictures.kernels(np.ones((2, 2, 3), dtype=bool)).shape == (3, 7)  # of a one-dimensional convolution


def test_a_picture_shows_the_first_seed_of_the_layer_that_is_named() -> None:
    first = np.zeros((1, 4), dtype=bool)
    second = ~first
    masks = {("erk-0.1", 0): {"a": first, "b": second}, ("erk-0.1", 1): {"a": second, "b": second}}
    cells = [cell("erk"), cell("refused")]
    rows = drawn(mask_pictures.render(NAMED | {"panels": ["mask"]}, cells, lambda c, s: masks.get((c, s))))
    assert [float(row["value"]) for row in rows] == [0, 0, 0, 0] and {row["layer"] for row in rows} == {"a"}
    rows = drawn(
        mask_pictures.render(NAMED | {"layer": "b", "panels": ["mask"]}, cells, lambda c, s: masks.get((c, s)))
    )
    assert [float(row["value"]) for row in rows] == [1, 1, 1, 1] and {row["seed"] for row in rows} == {"0"}
    with pytest.raises(UserError, match="unknown layer"):
        mask_pictures.render(NAMED | {"layer": "x"}, cells, lambda c, s: masks.get((c, s)))
