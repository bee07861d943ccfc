"""Figures of benches: fitted exponents with their intervals, theory beside what is measured, equal bytes."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sparse_ortho.errors import UserError
from sparse_ortho.report import theory, timing

TIMING: dict[str, Any] = {
    "study": "eoi", "scale": "quick", "name": "timing", "kind": "timing", "x": "bench.size", "quantities": ["seconds"],
    "panels": ["bench.density"], "hue": "bench.method", "dash": None, "labels": {"metric": "time"},
}  # fmt: skip
SIZES = [64, 128, 256, 512]


def cell(method: str, size: int, density: float) -> dict[str, Any]:
    axes = {"mask": "dense", "bench.method": method, "bench.size": size, "bench.density": density}
    return {"id": f"{method}-{size}-{density}", "axes": axes, "seeds": [0, 1]}


CELLS = [cell(m, s, d) for d in (0.1, 0.5) for m in ("eoi", "qr") for s in (SIZES if m == "eoi" else SIZES[:2])]
NOISE = {size: 1 + 0.1 * (-1) ** place for place, size in enumerate(SIZES)}


def row(cell: str, seed: int, quantity: str, value: float | None, status: str = "ok") -> dict[str, Any]:
    return {"cell": cell, "seed": seed, "status": status, "reason": None, "quantity": quantity, "value": value}


def seconds(c: dict[str, Any], seed: int) -> float:
    """size^1.5 with a little noise, and the seeds beside it at equal distances."""
    return 1e-6 * c["axes"]["bench.size"] ** 1.5 * NOISE[c["axes"]["bench.size"]] * (1 + 0.01 * (2 * seed - 1))


ROWS = [row(c["id"], seed, "seconds", seconds(c, seed)) for c in CELLS for seed in (0, 1)]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_exponents_are_least_squares_on_logarithms_with_the_interval_of_t() -> None:
    found = table(timing.render(TIMING, CELLS, ROWS)["csv"])
    x = np.log(SIZES)
    y = np.log([1e-6 * size**1.5 * NOISE[size] for size in SIZES])
    centred = x - x.mean()
    slope = (centred @ y) / (centred @ centred)
    left = y - y.mean() - slope * centred
    error = math.sqrt((left @ left) / 2 / (centred @ centred))
    for line in found:
        if line["method"] == "eoi":
            assert float(line["exponent"]) == pytest.approx(slope)
            assert float(line["exponent_half_width"]) == pytest.approx(stats.t(2).ppf(0.975) * error)
        else:  # two sizes have no interval
            assert line["exponent"] == line["exponent_half_width"] == ""
    assert len(found) == len(CELLS) and {line["density"] for line in found} == {"0.1", "0.5"}


def test_a_figure_of_times_has_equal_bytes_and_words_of_the_bench() -> None:
    drawn = timing.render(TIMING, CELLS, ROWS)
    assert timing.render(TIMING, CELLS, list(reversed(ROWS))) == drawn
    assert drawn["png"][:4] == b"\x89PNG" and drawn["svg"].startswith(b"<?xml")
    assert "bench." not in drawn["csv"].splitlines()[0]


def test_what_is_not_measured_or_refused_is_told_and_makes_no_fit() -> None:
    rows = [r if r["cell"] != "eoi-64-0.1" else row(r["cell"], r["seed"], "seconds", None, "refused") for r in ROWS]
    rows = [r for r in rows if r["cell"] != "eoi-128-0.1"]
    found = {line["cell"]: line for line in table(timing.render(TIMING, CELLS, rows)["csv"])}
    assert found["eoi-64-0.1"]["refused"] == "2" and found["eoi-128-0.1"]["missing"] == "2"
    assert found["eoi-256-0.1"]["exponent"] == "" != found["eoi-256-0.5"]["exponent"]
    assert timing.render(TIMING, CELLS, [])["png"][:4] == b"\x89PNG"


def test_quantities_that_benches_lack_are_refused() -> None:
    with pytest.raises(UserError, match="quantities"):
        timing.render({**TIMING, "quantities": ["hours"]}, CELLS, ROWS)


THEORY: dict[str, Any] = {
    "study": "eoi", "scale": "quick", "name": "theory", "kind": "theory", "x": "epoch", "hue": None, "dash": None,
    "panels": ["bench.rows", "bench.cols"], "labels": {},
}  # fmt: skip
SHAPE = {"id": "a", "axes": {"mask": "dense", "bench.rows": 6, "bench.cols": 12}, "seeds": [0, 1]}
MEASURED = {  # by seed: rotations, density, error, expected, closed at two points
    0: [(0, 1 / 12, 1e-18, 1 / 12, 1 / 12), (10, 0.30, 0.03, 0.32, 0.35)],
    1: [(0, 1 / 12, 0.0, 1 / 12, 1 / 12), (10, 0.36, 0.04, 0.32, 0.35)],
}
LINES = [
    row("a", seed, f"{part}/{at}", value)
    for seed, points in MEASURED.items()
    for at, point in enumerate(points)
    for part, value in zip(theory.PARTS, point, strict=True)
]


def test_seeds_are_pooled_and_what_is_left_is_in_standard_errors() -> None:
    first, second = table(theory.render(THEORY, [SHAPE], LINES)["csv"])
    assert (first["rows"], first["cols"], first["t"], first["left_over"]) == ("6", "12", "0", "")
    assert float(second["measured"]) == pytest.approx(0.33)
    assert float(second["standard_error"]) == pytest.approx(math.sqrt(0.03**2 + 0.04**2) / 2)
    assert float(second["left_over"]) == pytest.approx((0.33 - 0.32) / 0.025)
    assert (second["expected"], second["closed_form"], second["seeds"]) == ("0.32", "0.35", "2")


def test_a_figure_of_theory_has_equal_bytes_and_an_empty_panel_where_nothing_is_measured() -> None:
    other = {"id": "b", "axes": {"mask": "dense", "bench.rows": 8, "bench.cols": 8}, "seeds": [0]}
    drawn = theory.render(THEORY, [SHAPE, other], LINES)
    assert theory.render(THEORY, [SHAPE, other], LINES[::-1]) == drawn
    assert len(table(drawn["csv"])) == 2 and drawn["png"][:4] == b"\x89PNG"
