"""Measures and layer densities as figures: equal input, equal bytes, and a csv that says what is drawn and what not."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import statistics
import subprocess
import sys
from typing import Any

import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.report import layers, lines
from sparse_ortho.report.logscale import log_scale, placed

LINES: dict[str, Any] = {
    "study": "eoi", "scale": "quick", "name": "jacobian", "kind": "lines", "x": "density", "log_x": True, "log_y": True,
    "quantities": ["mean", "min"], "panels": ["model.activation"], "hue": "init", "dash": "mask",
    "labels": {"metric": "singular values"},
}  # fmt: skip
LAYERS: dict[str, Any] = {
    "study": "eoi", "scale": "quick", "name": "layers", "kind": "layers", "panels": ["density"], "hue": "mask",
    "log_y": True,
}  # fmt: skip


def cell(activation: str, init: str, mask: str, density: float) -> dict[str, Any]:
    axes = {"model": "mlp", "model.activation": activation, "init": init, "mask": mask, "density": density}
    return {"id": f"{activation}-{init}-{mask}-{density}", "axes": axes, "seeds": [0, 1, 2]}


CELLS = [
    cell(activation, init, mask, density)
    for activation in ("tanh", "relu")
    for init in ("orthogonal", "eoi")
    for mask, density in (("dense", 1.0), ("erk", 0.3), ("erk", 0.03), ("uniform", 0.3), ("uniform", 0.03))
]
ROWS = [
    {"cell": c["id"], "seed": seed, "status": "ok", "reason": None, "quantity": quantity, "value": value}
    for place, c in enumerate(CELLS)
    for seed in (0, 1, 2)
    for quantity, value in (("mean", 1 / (place + seed + 1)), ("min", float(place % 3 > 0) / (place + seed + 1)))
]
MASKS = [
    {"id": f"{mask}-{density}", "axes": {"mask": mask, "density": density}, "seeds": [0, 1]}
    for mask, density in (("dense", 1.0), ("erk", 0.1), ("snip", 0.1), ("erk", 0.3))
]
DENSITIES = [
    {"cell": c["id"], "seed": seed, "position": at, "layer": f"layers.{at}.weight", "size": size, "density": density}
    for c in MASKS
    for seed in (0, 1)
    for at, size in enumerate((300, 100, 10))
    for density in [0.0 if (c["id"], at) == ("snip-0.1", 1) else c["axes"]["density"] / (1 + at * seed)]
]


def draw() -> dict[str, dict[str, Any]]:
    return {"lines": lines.render(LINES, CELLS, ROWS), "layers": layers.render(LAYERS, MASKS, DENSITIES)}


def digests() -> dict[str, str]:
    return {
        f"{name}.{kind}": hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()
        for name, files in draw().items()
        for kind, data in files.items()
    }


def read(files: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files["csv"])))


def test_equal_input_gives_equal_bytes_in_any_process():
    found = [digests()]
    for seed in ("0", "77"):
        code = f"import json, sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_lines; "
        code += "print(json.dumps(test_lines.digests()))"
        env = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    assert found[0] == found[1] == found[2]


def test_the_order_of_rows_changes_nothing():
    assert lines.render(LINES, CELLS, ROWS[::-1]) == lines.render(LINES, CELLS, ROWS)
    assert layers.render(LAYERS, MASKS, DENSITIES[::-1]) == layers.render(LAYERS, MASKS, DENSITIES)


def test_figures_are_whole_and_carry_no_date():
    for files in draw().values():
        assert files["png"].startswith(b"\x89PNG") and len(files["png"]) > 5_000
        assert files["svg"].lstrip().startswith(b"<?xml") and files["svg"].rstrip().endswith(b"</svg>")
        assert b"dc:date" not in files["svg"] and b"Matplotlib v" not in files["svg"] + files["png"]


def test_csv_of_lines_is_mean_and_range_over_seeds():
    rows = read(lines.render(LINES, CELLS, ROWS))
    assert len(rows) == 2 * len(CELLS)
    for row in rows:
        seen = [r["value"] for r in ROWS if (r["cell"], r["quantity"]) == (row["cell"], row["quantity"])]
        told = [float(row[part]) for part in ("mean", "min", "max")]
        assert told == pytest.approx([statistics.fmean(seen), min(seen), max(seen)])
        assert row["drawn"] == ("reference" if row["mask"] == "dense" else "line")
        assert (row["n"], row["refused"], row["missing"], row["planned"]) == ("3", "0", "0", "3")


def test_missing_seeds_and_refused_cells_are_counted_and_not_drawn():
    refused, missing, part = "tanh-eoi-erk-0.3", "tanh-eoi-erk-0.03", "relu-eoi-erk-0.3"
    rows = [r for r in ROWS if r["cell"] not in (refused, missing) and (r["cell"], r["seed"]) != (part, 1)]
    said = {"cell": refused, "status": "refused", "reason": "no room", "quantity": None, "value": None}
    rows += [said | {"seed": seed} for seed in (0, 1, 2)]
    rows = [r | {"value": math.nan} if (r["cell"], r["seed"]) == (part, 2) else r for r in rows]
    rows += [ROWS[0] | {"cell": "of another exhibit"}, ROWS[0] | {"seed": 9, "value": 1e9}]
    found = lines.render(LINES, CELLS, rows)
    told = {r["cell"]: r for r in read(found) if r["quantity"] == "mean"}
    counts = {name: [told[name][k] for k in ("n", "refused", "missing", "drawn", "mean")] for name in told}
    assert counts[refused] == ["0", "3", "0", "no", ""] and counts[missing] == ["0", "0", "3", "no", ""]
    assert counts[part][:4] == ["1", "0", "2", "line"]
    assert found["png"] != lines.render(LINES, CELLS, ROWS)["png"]
    without = [r for r in rows if r["status"] == "ok"]
    assert found["png"] == lines.render(LINES, CELLS, without)["png"]  # a refusal leaves no mark


def test_every_layout_of_lines_draws():
    tanh = [c for c in CELLS if c["axes"]["model.activation"] == "tanh"]
    for changed, cells in (
        ({"panels": [], "log_y": False}, tanh),
        ({"panels": ["mask"], "hue": "init", "dash": "model.activation"}, CELLS),
        ({"panels": ["init"], "hue": "mask", "dash": None, "log_x": False}, tanh),
        ({"hue": None, "dash": "mask", "panels": ["init"]}, tanh),
        ({}, [c for c in CELLS if c["axes"]["mask"] == "dense"]),
        ({}, []),
    ):
        for rows in (ROWS, []):  # nothing measured yet
            assert len(lines.render(LINES | changed, cells, rows)["png"]) > 4_000


def test_a_dense_cell_is_a_reference_of_every_panel_that_masks_make():
    rows = read(lines.render(LINES | {"panels": ["mask"], "dash": "model.activation"}, CELLS, ROWS))
    assert sum(row["drawn"] == "reference" for row in rows) == 2 * 4  # once each, not once a panel


def test_zero_has_a_place_on_a_logarithmic_axis():
    scale = log_scale([0.0, 1e-9, 0.01, 1.0], largest=2.0)
    assert scale and scale.low == 0.01 and scale.zero and scale.zero < 0.01
    points = [{"mean": value, "min": value, "max": value} for value in (0.0, 1e-9, 0.5, None)]
    assert [point["mean"] for point in placed(scale, points)] == [scale.zero, scale.zero, 0.5, None]
    assert log_scale([0.0], 0.0) is None
    plain = log_scale([0.5, 1.0], 1.0)
    assert plain and plain.zero is None and not plain.is_zero(0.5)


def test_csv_of_layers_is_mean_and_range_over_seeds():
    rows = read(layers.render(LAYERS, MASKS, DENSITIES))
    assert len(rows) == 3 * len(MASKS)
    for row in rows:
        mine = [r for r in DENSITIES if r["cell"] == row["cell"]]
        seen = [r["density"] for r in mine if str(r["position"]) == row["position"]]
        told = [float(row[f"density_{part}"]) for part in ("mean", "min", "max", "overall")]
        overall = sum(r["density"] * r["size"] for r in mine) / sum(r["size"] for r in mine)
        assert told == pytest.approx([sum(seen) / 2, min(seen), max(seen), overall])
        assert row["layer"] == f"layers.{row['position']}.weight" and (row["n"], row["planned"]) == ("2", "2")


def test_a_missing_seed_is_counted_in_the_csv_of_layers():
    rows = [r for r in DENSITIES if r["cell"] != "erk-0.3" and (r["cell"], r["seed"]) != ("erk-0.1", 1)]
    told = {(r["cell"], r["position"]): r["n"] for r in read(layers.render(LAYERS, MASKS, rows))}
    assert told["erk-0.3", ""] == "0" and told["erk-0.1", "2"] == "1" and told["snip-0.1", "2"] == "2"


def test_every_layout_of_layers_draws():
    for changed in ({"panels": [], "hue": "id"}, {"panels": ["mask"], "hue": "density"}, {"log_y": False}):
        cells = [c | {"axes": c["axes"] | {"id": c["id"]}} for c in MASKS]
        assert len(layers.render(LAYERS | changed, cells, DENSITIES)["png"]) > 5_000
    deep = [r | {"position": 3 * at + r["position"]} for r in DENSITIES for at in range(40)]
    assert len(layers.render(LAYERS, MASKS, deep)["png"]) > 5_000  # more layers than names fit
    assert len(layers.render(LAYERS, MASKS, [])["png"]) > 5_000


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"quantities": ["mean", "men"]}, r"exhibit jacobian, quantities: found 'men'.*did you mean 'mean'"),
        ({"quantities": []}, "exhibit jacobian, quantities: names nothing"),
        ({"x": "densty"}, r"exhibit jacobian, x: found 'densty'.*did you mean 'density'"),
        ({"x": "init"}, r"exhibit jacobian, x: init is no number in cell"),
        ({"hue": "initial"}, r"exhibit jacobian, hue: found 'initial'.*did you mean 'init'"),
        ({"panels": ["init", "model"]}, "exhibit jacobian, panels: takes one axis at most"),
        ({"panels": []}, "fall into one place; show another axis; allowed: model.activation"),
    ],
)
def test_mistakes_of_lines_are_told_in_one_sentence(changed, told):
    with pytest.raises(UserError, match=told) as caught:
        lines.render(LINES | changed, CELLS, ROWS)
    assert "\n" not in str(caught.value)


def test_what_is_there_twice_is_told_in_one_sentence():
    with pytest.raises(UserError, match="two values of mean for seed 0"):
        lines.render(LINES, CELLS, [*ROWS, ROWS[0]])
    with pytest.raises(UserError, match="layer 0 of seed 0 twice"):
        layers.render(LAYERS, MASKS, [*DENSITIES, DENSITIES[0]])
    with pytest.raises(UserError, match=r"exhibit layers, hue: found 'maks'.*did you mean 'mask'"):
        layers.render(LAYERS | {"hue": "maks"}, MASKS, DENSITIES)
