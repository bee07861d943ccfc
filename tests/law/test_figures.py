"""Figures are functions of their input: equal input, equal bytes, and a csv that says what is drawn."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.report import curves, matrix

CURVES: dict[str, Any] = {
    "study": "eoi", "scale": "quick", "name": "loss", "kind": "curves", "title": "Loss", "caption": "", "x": "epoch",
    "y": "train_loss", "panels": ["density", "mask"], "hue": "init", "log_y": True,
}  # fmt: skip
MATRIX: dict[str, Any] = {"study": "eoi", "scale": "quick", "name": "matrix", "kind": "matrix", "layer": "layers.1"}


def cell(mask: str, init: str, density: float) -> dict[str, Any]:
    return {"id": f"{mask}-{init}-{density}", "axes": {"mask": mask, "init": init, "density": density}, "seeds": [0, 1]}


CELLS = [cell(m, i, d) for m, d in (("dense", 1.0), ("erk", 0.1), ("erk", 0.3)) for i in ("kaiming", "eoi")]
ROWS = [
    {"cell": c["id"], "seed": seed, "epoch": epoch, "train_loss": (1 + seed) / (epoch + place + 1)}
    for place, c in enumerate(CELLS)
    for seed in (0, 1)
    for epoch in range(4)
]


def givens() -> tuple[np.ndarray, np.ndarray]:
    """Two rotations of a 4 x 4 identity: six zeros of its twelve stay, one of them active."""
    q = np.eye(4)
    q[:2, :2] = q[2:, 2:] = [[0.6, -0.8], [0.8, 0.6]]
    mask = q != 0
    mask[0, 3] = True
    return q, mask


def draw() -> dict[str, dict[str, Any]]:
    return {"curves": curves.render(CURVES, CELLS, ROWS), "matrix": matrix.render(MATRIX, *givens(), {"gain": 1.0})}


def digests() -> dict[str, str]:
    return {
        f"{name}.{kind}": hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()
        for name, files in draw().items()
        for kind, data in files.items()
    }


def test_equal_input_gives_equal_bytes_in_any_process(tmp_path):
    found = [digests()]
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 7\nsvg.fonttype: none\n")  # a reader's own taste
    for seed in ("0", "77"):
        code = f"import json, sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_figures; "
        code += "print(json.dumps(test_figures.digests()))"
        env = os.environ | {"PYTHONHASHSEED": seed, "MATPLOTLIBRC": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    assert found[0] == found[1] == found[2]


def test_figures_are_whole_and_carry_no_date():
    for files in draw().values():
        assert files["png"].startswith(b"\x89PNG") and len(files["png"]) > 5_000
        assert files["svg"].lstrip().startswith(b"<?xml") and files["svg"].rstrip().endswith(b"</svg>")
        assert b"dc:date" not in files["svg"] and b"Matplotlib v" not in files["svg"] + files["png"]


def test_csv_of_curves_is_mean_and_range_over_seeds():
    rows = list(csv.DictReader(io.StringIO(curves.render(CURVES, CELLS, ROWS)["csv"])))
    assert len(rows) == len(CELLS) * 4 and rows[-1]["mask"] == "dense"  # its own panel, after the sparse ones
    for row in rows:
        seen = [r["train_loss"] for r in ROWS if (r["cell"], str(r["epoch"])) == (row["cell"], row["epoch"])]
        told = [float(row[f"train_loss_{part}"]) for part in ("mean", "min", "max")]
        assert told == pytest.approx([sum(seen) / 2, min(seen), max(seen)]) and row["n"] == "2"


def test_a_seed_counts_where_it_has_a_value():
    rows = [r | {"train_loss": math.nan if r["seed"] == 1 and r["epoch"] > 1 else r["train_loss"]} for r in ROWS]
    rows += [{"cell": "of another exhibit", "seed": 0, "epoch": 0, "train_loss": 9.0}]
    found = csv.DictReader(io.StringIO(curves.render(CURVES, CELLS, rows)["csv"]))
    assert {(row["epoch"], row["n"]) for row in found} == {("0", "2"), ("1", "2"), ("2", "1"), ("3", "1")}


def test_every_layout_of_panels_draws():
    for changed in (
        {"panels": []},
        {"hue": None, "panels": ["density", "mask", "init"]},
        {"panels": ["init"], "hue": "density"},
    ):
        found = curves.render(CURVES | changed, CELLS[2:4] if changed["panels"] == [] else CELLS, ROWS)
        assert len(found["png"]) > 5_000
    assert len(curves.render(CURVES, CELLS, [])["png"]) > 5_000  # nothing trained yet


def test_csv_of_a_matrix_is_the_matrix():
    q, mask = givens()
    rows = list(csv.DictReader(io.StringIO(matrix.render(MATRIX, q, mask, {})["csv"])))
    back, active = np.full(q.shape, np.nan), np.zeros(q.shape, dtype=bool)
    for row in rows:
        place = int(row["row"]), int(row["col"])
        back[place], active[place] = float(row["value"]), row["active"] == "1"
    assert (back == q).all() and (active == mask).all()


def test_gram_is_of_the_smaller_side():
    tall = np.array([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    assert matrix.gram(tall).shape == matrix.gram(tall.T).shape == (2, 2)
    assert matrix.gram_residual(tall, 3.0) == 0.0 and matrix.gram_residual(tall, 1.0) == 8.0


def test_an_active_zero_is_drawn_differently():
    q, mask = givens()
    assert matrix.render(MATRIX, q, mask, {})["png"] != matrix.render(MATRIX, q, q != 0, {})["png"]


def test_mistakes_are_told_in_one_sentence():
    with pytest.raises(UserError, match="needs a matrix and its mask"):
        matrix.render(MATRIX, np.eye(2), np.ones((3, 3), dtype=bool), {})
    with pytest.raises(UserError, match=r"exhibit loss, y: found 'train_los'.*did you mean 'train_loss'"):
        curves.render(CURVES | {"y": "train_los"}, CELLS, ROWS)
    with pytest.raises(UserError, match="two curve rows"):
        curves.render(CURVES, CELLS, [*ROWS, ROWS[0]])
