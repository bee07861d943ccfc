"""Width factors of random networks: the bounds hold in random draws, and exactly; the figure shows what it is given."""

from __future__ import annotations

import csv
import io
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sparse_ortho.bench.setting import Setting
from sparse_ortho.bench.widths import smallest, widths
from sparse_ortho.errors import UserError
from sparse_ortho.learned import theory
from sparse_ortho.report.widths import FACTORS, render
from sparse_ortho.streams import Streams


def test_widths_by_hand() -> None:
    """One layer of ten weights at density one half: q_0 = log2(10 / delta)."""
    assert theory.widths([0.5], [10], 0.1) == pytest.approx([math.log2(100), 1.0])
    two = theory.widths([0.5, 0.5], [10, 4], 0.1)
    assert two[1] == pytest.approx(math.log2(2 * 4 / 0.1))
    assert two[0] == pytest.approx(math.log2(2 * 10 * two[1] / 0.1)) and two[2] == 1
    assert theory.whole_widths([0.5], [10], 0.1) == [7, 1]


@pytest.mark.parametrize("density", [0.05, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("weights", [[5], [20, 3], [7, 50, 10]])
def test_the_sufficient_width_covers_with_the_probability_it_promises(weights: list[int], density: float) -> None:
    for delta in (0.01, 0.2):
        copies = theory.whole_widths([density] * len(weights), weights, delta)
        assert theory.coverage([density] * len(weights), weights, copies) >= 1 - delta
        assert copies[-1] == 1 and all(q >= 1 for q in copies)


def test_the_coverage_is_that_of_random_networks() -> None:
    """Binomial test at 1e-4 over 3,000 draws of a source that is a little too narrow."""
    density, weights, copies = [0.4, 0.5], [12, 6], [7, 4, 1]
    exact = theory.coverage(density, weights, copies)
    assert 0.05 < exact < 0.95
    rng = np.random.default_rng(0)
    held = sum(theory.covered(density, weights, copies, rng) for _ in range(3000))
    assert stats.binomtest(held, 3000, exact).pvalue > 1e-4


def test_a_draw_holds_no_more_than_a_number_for_each_row_of_links() -> None:
    """A thousand weights at density 0.02 need some 800 copies: all of their links would be 3 GB."""
    copies = theory.whole_widths([0.02] * 2, [1000] * 2, 0.1)
    tracemalloc.start()
    theory.covered([0.02] * 2, [1000] * 2, copies, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rows = 1000 * copies[1]  # each of them of copies[0] links
    assert copies[0] * rows > 3e8 and 8 * rows <= peak < 4 * 8 * rows


def test_an_actual_masked_matrix_is_covered_as_the_formula_says() -> None:
    """Targets of 3 x 3 with 5 weights; the source is one Bernoulli matrix of (3 x 2 copies) by (3 x 4 copies)."""
    rng, target = np.random.default_rng(1), [(0, 0), (0, 2), (1, 1), (2, 0), (2, 1)]
    held, p, below, above = 0, 0.5, 2, 4
    for _ in range(3000):
        links: Any = (rng.random((3, below, 3, above)) < p).any(3)  # some copy of input i reaches copy c of output j
        held += all(bool(links[j, c, i]) for j, i in target for c in range(below))
    assert stats.binomtest(held, 3000, theory.coverage([p], [5], [above, below])).pvalue > 1e-4


@pytest.mark.parametrize("delta", [0.01, 0.3])
@pytest.mark.parametrize("outputs", [1, 10, 500])
@pytest.mark.parametrize("density", [0.1, 0.6])
def test_below_the_lower_bound_a_univariate_target_fails(density: float, outputs: int, delta: float) -> None:
    bound = theory.lower_bound(density, outputs, delta)
    assert (1 - (1 - density) ** bound) ** outputs == pytest.approx(1 - delta, rel=1e-9)
    narrow = math.ceil(bound) - 1
    assert (1 - (1 - density) ** narrow) ** outputs <= 1 - delta


@pytest.mark.parametrize("density", [0.1, 0.5])
def test_necessary_is_below_smallest_is_below_sufficient(density: float) -> None:
    found = widths(Setting(Streams(0)), density=density, layers=3, weights=20, draws=20)
    assert found["necessary"] < found["smallest"] <= found["sufficient"] < found["strong"]
    q = smallest(density, 3, 20, 0.1)
    assert theory.coverage([density] * 3, [20] * 3, [q, q, q, 1]) >= 0.9
    assert theory.coverage([density] * 3, [20] * 3, [q - 1, q - 1, q - 1, 1]) < 0.9


def test_a_denser_network_may_be_narrower_and_a_dense_one_as_wide_as_its_target() -> None:
    factors = [theory.widths([p] * 3, [20] * 3, 0.1)[0] for p in (0.05, 0.2, 0.6, 0.95, 1.0)]
    assert factors == sorted(factors, reverse=True) and factors[-1] == 1


def test_strong_tickets_need_the_logarithm_of_the_precision_more() -> None:
    coarse, fine = (theory.strong_factor(20, 0.1, epsilon) for epsilon in (1e-2, 1e-4))
    assert fine - coarse == pytest.approx(math.log(100)) and theory.strong_factor(1, 0.9, 0.9) == 1


@pytest.mark.parametrize("given", [([0.0], [5], 0.1), ([0.5], [5], 1.0), ([0.5], [0], 0.1), ([0.5], [5, 5], 0.1)])
def test_mistakes_are_refused(given: Any) -> None:
    with pytest.raises(UserError):
        theory.widths(*given)


def test_the_bench_repeats_and_counts_failures() -> None:
    first, again = (widths(Setting(Streams(3)), density=0.3, draws=50) for _ in range(2))
    assert first == again and 0 <= first["failures"] <= 1
    exact, draws = first["failures_exact"], 50
    assert 0 < exact <= first["delta"] and abs(first["failures"] - exact) < 5 * math.sqrt(exact / draws)


def test_the_figure_shows_every_density_once_in_order() -> None:
    exhibit = {"name": "width", "panels": ["bench.weights"], "x": "bench.density"}
    cells = [
        {"id": f"c{w}-{p}", "seeds": [0], "axes": {"bench.weights": w, "bench.density": p}}
        for w in (10, 100)
        for p in (0.5, 0.1)
    ]
    rows = [
        {"cell": cell["id"], "seed": 0, "status": "ok", "reason": None, "quantity": name, "value": value}
        for cell in cells
        for name, value in widths(
            Setting(Streams(0)), density=cell["axes"]["bench.density"], weights=cell["axes"]["bench.weights"], draws=5
        ).items()
    ]
    drawn = render(exhibit, cells, rows)
    told = list(csv.DictReader(io.StringIO(drawn["csv"])))
    placed = [(row["weights"], row["density"]) for row in told]
    assert placed == [("10", "0.1"), ("10", "0.5"), ("100", "0.1"), ("100", "0.5")]
    values = {(row["cell"], row["quantity"]): row["value"] for row in rows}
    assert all(float(row[name]) == values[row["cell"], name] for row in told for name in FACTORS)
    assert drawn["svg"].startswith(b"<?xml") and drawn["png"][:4] == b"\x89PNG"
    empty = render(exhibit, cells, [])
    assert all(row["sufficient"] == "" for row in csv.DictReader(io.StringIO(empty["csv"])))
