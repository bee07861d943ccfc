"""The statistics of a table, against scipy.stats, statsmodels and values worked by hand."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sparse_ortho.report.statistics import Summary, difference, holm, summary

numbers = st.floats(-1e3, 1e3, allow_nan=False)


def test_summary_by_hand():
    # mean 4, deviations -2 0 2, s^2 = 8 / 2; with two degrees of freedom t(p) = (2p - 1) sqrt(2 / (4 p (1 - p)))
    found = summary([2.0, 4.0, 6.0], 3)
    assert (found.n, found.planned, found.mean, found.std) == (3, 3, 4.0, 2.0)
    assert found.half_width == pytest.approx(0.95 * math.sqrt(2 / (4 * 0.975 * 0.025)) * 2 / math.sqrt(3), rel=1e-9)


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert summary([93.5], 3) == Summary(1, 3, 93.5, None, None)
    assert summary([], 3) == Summary(0, 3, None, None, None)
    assert summary([None, math.nan, math.inf], 3) == Summary(0, 3, None, None, None)


def test_equal_values_have_no_spread():
    assert summary([0.1] * 3, 3) == Summary(3, 3, 0.1, 0.0, 0.0)


@given(st.lists(numbers, min_size=2, max_size=12))
def test_interval_is_scipys(values):
    found = summary(values, len(values))
    spread = stats.sem(values)
    assert found.mean is not None and found.half_width is not None
    if min(values) != max(values) and spread > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=found.mean, scale=spread)
        assert found.half_width == pytest.approx((high - low) / 2, rel=1e-7)
    assert found.mean == pytest.approx(math.fsum(values) / len(values), abs=1e-9)


@given(st.lists(numbers, min_size=1, max_size=8), st.randoms())
def test_order_of_seeds_does_not_matter(values, shuffler: random.Random):
    mixed = list(values)
    shuffler.shuffle(mixed)
    assert summary(mixed, 8) == summary(values, 8)


@given(st.lists(numbers, min_size=2, max_size=8), st.lists(numbers, min_size=2, max_size=8))
def test_difference_is_welchs(a, b):
    if np.std(a) < 1e-3 or np.std(b) < 1e-3:
        return
    oracle: Any = stats.ttest_ind(a, b, equal_var=False)
    found = difference(a, b)
    interval = oracle.confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
    assert (found.low, found.high) == (pytest.approx(interval.low, rel=1e-6), pytest.approx(interval.high, rel=1e-6))
    assert found.p == pytest.approx(oracle.pvalue, rel=1e-6)


def test_difference_without_spread_or_without_values():
    assert difference([1.0, 1.0], [1.0, 1.0]).p == 1.0
    apart = difference([2.0, 2.0], [1.0, 1.0])
    assert (apart.low, apart.high, apart.p) == (1.0, 1.0, 0.0)
    single = difference([2.0], [1.0, 3.0])
    assert (single.mean, single.low, single.p) == (0.0, None, None)
    assert difference([], [1.0]).mean is None


def test_holm_by_hand():
    # sorted 0.01 0.03 0.04: times 3 2 1 is 0.03 0.06 0.04, made monotone 0.03 0.06 0.06
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


@settings(max_examples=20, deadline=None)  # the oracle takes 50 ms a call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_is_statsmodels(p_values):
    oracle: Any = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(list(oracle), abs=1e-12)


def test_tables_start_without_scipy_stats():
    code = (
        "import sys; from sparse_ortho.report.statistics import summary, difference; "
        "summary([1, 2], 2); difference([1, 2], [3, 5]); sys.exit('scipy.stats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
