"""Effects of a factorial against statsmodels' least squares, and by hand."""

from __future__ import annotations

import csv
import io
import itertools
from typing import Any

import numpy as np
import pandas
import pytest
from statsmodels.formula.api import ols

from sparse_ortho.errors import UserError
from sparse_ortho.plan.config import Exhibit, Grid
from sparse_ortho.plan.factors import check_factors
from sparse_ortho.report import tables
from sparse_ortho.report.effects import fitted
from sparse_ortho.report.factorial import render

FACTORS = ["tricks.soft", "tricks.ghost", "init"]
LEVELS = {"tricks.soft": ["none", "swish"], "tricks.ghost": ["none", "identity"], "init": ["kaiming", "gradinit"]}


def design(seeds: int, factors: int) -> tuple[list[list[int]], list[int]]:
    rows = [(list(signs), seed) for seed in range(seeds) for signs in itertools.product((-1, 1), repeat=factors)]
    return [signs for signs, _ in rows], [seed for _, seed in rows]


@pytest.mark.parametrize("dropped", [[], [3], [0, 9, 17, 22, 30]])
def test_effects_and_intervals_are_those_of_statsmodels(dropped: list[int]) -> None:
    rng = np.random.default_rng(0)
    signs, blocks = design(3, 4)
    keep = [i for i in range(len(signs)) if i not in dropped]
    signs, blocks = [signs[i] for i in keep], [blocks[i] for i in keep]
    values = list(rng.normal(size=len(keep)) + np.array(blocks) * 5 + np.array(signs) @ [1.0, -2.0, 0.1, 0.0])
    found = fitted(signs, values, blocks, 4)
    names = "abcd"
    frame = pandas.DataFrame(np.array(signs) / 2, columns=list(names))
    frame["y"], frame["block"] = values, blocks
    pairs = [f"{i}{j}" for i, j in itertools.combinations(names, 2)]
    for pair in pairs:
        frame[pair] = 2 * frame[pair[0]] * frame[pair[1]]
    oracle = ols(f"y ~ C(block) + {' + '.join([*names, *pairs])}", frame).fit()
    assert found.freedom == oracle.df_resid and found.n == len(keep)
    interval = oracle.conf_int()
    for effect in found.effects:
        name = "".join(names[i] for i in effect.factors)
        assert effect.estimate == pytest.approx(oracle.params[name], rel=1e-9)
        assert effect.half_width == pytest.approx((interval[1][name] - interval[0][name]) / 2, rel=1e-9)
        assert effect.p == pytest.approx(oracle.pvalues[name], rel=1e-6, abs=1e-12)


def test_a_balanced_effect_is_a_difference_of_means_whatever_the_seeds_have_in_common() -> None:
    signs, blocks = design(2, 2)
    values = [1.0, 2.0, 4.0, 9.0] + [101.0, 102.0, 104.0, 109.0]
    found = {effect.factors: effect.estimate for effect in fitted(signs, values, blocks, 2).effects}
    assert found[(0,)] == pytest.approx((4 + 9) / 2 - (1 + 2) / 2)
    assert found[(1,)] == pytest.approx((2 + 9) / 2 - (1 + 4) / 2)
    assert found[(0, 1)] == pytest.approx(((9 - 4) - (2 - 1)) / 2)
    assert fitted(signs, values, blocks, 2).effects[0].half_width == pytest.approx(0, abs=1e-9)


def test_what_the_runs_cannot_tell_apart_has_no_estimate() -> None:
    signs, blocks = design(1, 2)
    alone = fitted(signs, [1.0, 2.0, 4.0, 9.0], blocks, 2)
    assert alone.freedom == 0 and alone.effects[0].estimate == 5.0 and alone.effects[0].half_width is None
    confounded = fitted(signs[:3], [1.0, 2.0, 4.0], blocks[:3], 2)
    assert [effect.estimate for effect in confounded.effects] == [None, None, None]
    assert fitted([], [], [], 2).mean is None


# --- the exhibit


def cells(densities: tuple[float, ...] = (0.1,)) -> list[dict[str, Any]]:
    found = []
    for number, (density, *levels) in enumerate(itertools.product(densities, *LEVELS.values())):
        axes = {"data": "digits", "mask": "erk", "density": density, **dict(zip(LEVELS, levels, strict=True))}
        found.append({"id": f"c{number}", "axes": axes, "seeds": [0, 1]})
    return found


def records(made: list[dict[str, Any]], gone: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    rows = []
    for cell in made:
        soft, gradinit = cell["axes"]["tricks.soft"] == "swish", cell["axes"]["init"] == "gradinit"
        for seed in cell["seeds"]:
            value = 80 + 4 * soft + 2 * (soft and gradinit) + 10 * seed + rng.normal() * 0.1
            status = "diverged" if cell["id"] in gone and seed == 1 else "ok"
            rows.append(
                {"cell": cell["id"], "seed": seed, "status": status, "reason": None, "test_accuracy_last": value}
            )
    return rows


EXHIBIT = {
    **{"study": "tost", "scale": "quick", "name": "factorial", "title": "T", "caption": "C", "footnotes": ["Mine."]},
    **{"rows": FACTORS, "columns": ["density"], "metric": "test_accuracy_last"},
}


def test_the_table_says_what_was_put_in() -> None:
    made = cells((0.1, 0.05))
    files = render(EXHIBIT, made, records(made), [])
    rows = list(csv.DictReader(io.StringIO(files["csv"])))
    here = {row["effect"]: row for row in rows if row["density"] == "0.1"}
    assert list(here) == [
        *("mean of all runs", "soft: none → swish", "ghost: none → identity", "init: kaiming → gradinit"),
        *("soft × ghost", "soft × init", "ghost × init"),
    ]
    assert float(here["soft: none → swish"]["estimate"]) == pytest.approx(5, abs=0.2)
    assert float(here["soft × init"]["estimate"]) == pytest.approx(1, abs=0.2)
    assert float(here["mean of all runs"]["estimate"]) == pytest.approx(80 + 2 + 0.5 + 5, abs=0.2)
    assert {row["n"] for row in rows} == {"16"} and {row["freedom"] for row in rows} == {str(16 - 2 - 6)}
    lines = {line.split("|")[1].strip(): line for line in files["md"].splitlines() if line.startswith("|")}
    assert "**+5." in lines["soft: none → swish"] and "**" not in lines["ghost: none → identity"]
    assert "8 degrees of freedom" in files["md"] and "Mine." in files["md"]
    assert r"\textbf{+5." in files["tex"] and "<strong>+5." in files["html"]
    assert float(here["soft × init"]["p_holm"]) >= float(here["soft × init"]["p"])


def test_runs_that_diverged_are_left_out_and_counted() -> None:
    made = cells()
    files = render(EXHIBIT, made, records(made, ("c2", "c5")), [])
    assert "14 of 16" in files["md"]
    assert {row["freedom"] for row in csv.DictReader(io.StringIO(files["csv"]))} == {str(14 - 2 - 6)}


def test_nothing_finished_yet_is_dashes() -> None:
    files = render(EXHIBIT, cells(), [], [])
    assert "0 of 16" in files["md"] and "cannot tell this effect" in files["md"]


@pytest.mark.parametrize(
    ("words", "grid", "places", "match"),
    [
        ({"rows": []}, {}, cells(), "names the factors of a factorial"),
        ({}, {"tune": {"train.lr": [0.1, 0.2]}}, cells(), "tunes none"),
        ({"rows": ["mask"]}, {}, cells(), "the factor mask must have two levels"),
        ({}, {}, cells()[:7], "7 of the 8 combinations"),
    ],
)
def test_what_is_no_factorial_is_refused_by_the_plan(words: Any, grid: Any, places: Any, match: str) -> None:
    told = {"rows": FACTORS, **words}
    scales: Any = {"quick": {"cells": [{}]}}
    exhibit = Exhibit(kind="factorial", title="", caption="", category="", scales=scales, **told)
    with pytest.raises(UserError, match=match):
        check_factors(exhibit, Grid(cells=[{}], **grid), [cell["axes"] for cell in places], "here")


def test_a_factor_with_three_levels_is_refused() -> None:
    made = cells()
    made[0]["axes"]["init"] = "eoi"
    with pytest.raises(UserError, match="init must have two levels"):
        render(EXHIBIT, made, [], [])


@pytest.mark.parametrize(("kept", "ends"), [(0, "does not have them"), (1234, "network has them")])
def test_a_table_says_what_was_trained_besides_the_network(kept: int, ends: str) -> None:
    made = cells()[:2]
    rows = [row | {"extra_parameters": None, "extra_parameters_kept": None} for row in records(made)]
    rows = [r | {"extra_parameters": 1234, "extra_parameters_kept": kept} if r["cell"] == "c1" else r for r in rows]
    files = tables.render(EXHIBIT | {"rows": ["init"], "columns": [], "published": False}, made, rows, [])
    assert files["md"].count("1,234 parameters more than the network has") == 1 and ends in files["md"]
    plain = tables.render(EXHIBIT | {"rows": ["init"], "columns": [], "published": False}, made, records(made), [])
    assert "parameters more" not in plain["md"]
