"""Integer budgets are exact, and water-filling solves the equation it claims to solve."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from sparse_ortho import budgets
from sparse_ortho.errors import UserError

law = settings(deadline=None, derandomize=True)
LAYER = st.tuples(st.integers(1, 400), st.integers(0, 400), st.one_of(st.just(0.0), st.floats(1e-3, 1e6)))


@pytest.mark.parametrize(
    ("density", "size", "kept"),
    [
        (0.05, 100, 5),
        (0.5, 3, 2),  # a half goes up
        (0.5, 1, 1),
        (0.001, 10, 1),  # never nothing
        (1, 7, 7),
        ("0.145", 100, 15),  # 14.5 in decimals; 0.145 * 100 is 14.499999999999998 in binary
        (0.145, 100, 15),
        (1e-9, 10**12, 1000),
    ],
)
def test_budget_is_the_rounded_decimal_product(density, size, kept):
    assert budgets.budget(density, size) == kept


@law
@given(st.integers(1, 10**6), st.integers(1, 10**9))
def test_budget_is_within_half_a_weight(millionths, size):
    kept = budgets.budget(Decimal(millionths) / 10**6, size)
    exact = Fraction(millionths, 10**6) * size
    assert kept == 1 if exact < Fraction(1, 2) else -Fraction(1, 2) <= exact - kept < Fraction(1, 2)


@pytest.mark.parametrize("density", [0, -0.1, 1.0001, math.nan, math.inf, "many", True])
def test_a_density_that_is_none_is_refused(density):
    with pytest.raises(UserError, match=r"density: out of range .*\(0, 1\]"):
        budgets.budget(density, 10)


def test_fill_by_hand():
    sizes = {"a": 4, "b": 10, "c": 10}
    assert budgets.fill({"a": 1, "b": 1, "c": 1}, sizes, 6) == {"a": 2, "b": 2, "c": 2}
    assert budgets.fill({"a": 8, "b": 1, "c": 1}, sizes, 10) == {"a": 4, "b": 3, "c": 3}  # a is full, b and c share
    assert budgets.fill({"a": 1, "b": 1, "c": 1}, sizes, 7) == {"a": 3, "b": 2, "c": 2}  # a tie goes to the first
    assert budgets.fill({"a": 1, "b": 1, "c": 1}, sizes, 8, {"c": 4}) == {"a": 2, "b": 2, "c": 4}
    assert budgets.fill({"a": 1, "b": 0, "c": 0}, sizes, 14) == {"a": 4, "b": 5, "c": 5}  # no share, but needed


def test_equal_huge_layers_differ_by_at_most_one():
    sizes = dict.fromkeys("abc", 10**12 + 1)
    counts = budgets.fill(dict.fromkeys(sizes, 0.1), sizes, 10**12)
    assert sum(counts.values()) == 10**12
    assert max(counts.values()) - min(counts.values()) <= 1


@law
@given(st.lists(LAYER, min_size=1, max_size=9), st.floats(0, 1))
def test_fill_meets_the_total_within_floor_and_size(layers, where):
    sizes, floors, shares = _named(layers)
    least, most = sum(floors.values()), sum(sizes.values())
    total = least + round(where * (most - least))
    counts = budgets.fill(shares, sizes, total, floors)
    assert sum(counts.values()) == total
    assert all(floors[n] <= counts[n] <= sizes[n] for n in sizes)
    assert all(type(count) is int for count in counts.values())


@law
@given(st.lists(LAYER, min_size=1, max_size=9), st.floats(0, 1))
def test_fill_is_within_one_weight_of_the_real_solution(layers, where):
    sizes, floors, shares = _named([(size, floor, share or 1.0) for size, floor, share in layers])
    least, most = sum(floors.values()), sum(sizes.values())
    total = least + round(where * (most - least))

    def levels(log_eps):
        return {n: min(sizes[n], max(floors[n], math.exp(log_eps) * shares[n])) for n in sizes}

    def excess(log_eps):
        return sum(levels(log_eps).values()) - total

    inside = excess(-60) < 0 < excess(60)
    root = brentq(excess, -60.0, 60.0, xtol=1e-13) if inside else (-60.0 if total == least else 60.0)
    counts = budgets.fill(shares, sizes, total, floors)
    for name, level in levels(root).items():
        assert abs(counts[name] - level) < 1 + 1e-6


@law
@given(st.lists(st.integers(1, 300), min_size=1, max_size=9), st.data())
def test_fill_with_its_own_counts_moves_nothing(sizes, data):
    named = {f"l{i}": size for i, size in enumerate(sizes)}
    counts = {name: data.draw(st.integers(0, size)) for name, size in named.items()}
    assert budgets.fill(counts, named, sum(counts.values())) == counts


def test_a_total_out_of_reach_is_refused_with_the_range():
    with pytest.raises(UserError, match=r"allowed: \[0\.3, 1\] \(6 to 20 weights\)"):
        budgets.fill({"a": 1, "b": 1}, {"a": 10, "b": 10}, 5, {"a": 3, "b": 3})
    with pytest.raises(UserError, match="6 to 20"):
        budgets.fill({"a": 1, "b": 1}, {"a": 10, "b": 10}, 21, {"a": 3, "b": 3})


@law
@given(st.lists(LAYER, min_size=1, max_size=9), st.floats(0, 1), st.data())
def test_ceilings_are_the_sizes_of_smaller_layers(layers, where, data):
    sizes, floors, shares = _named(layers)
    ceilings = {name: data.draw(st.integers(floors[name], size)) for name, size in sizes.items()}
    least, most = sum(floors.values()), sum(ceilings.values())
    total = least + round(where * (most - least))
    counts = budgets.fill(shares, sizes, total, floors, ceilings)
    assert sum(counts.values()) == total and all(floors[n] <= counts[n] <= ceilings[n] for n in sizes)
    if most:
        assert counts == budgets.fill(shares, ceilings, total, floors)


def test_a_total_above_the_ceilings_is_refused_with_the_range_of_the_whole():
    with pytest.raises(UserError, match=r"19 of 20 weights .*allowed: \[0\.2, 0\.9\] \(4 to 18 weights\)"):
        budgets.fill({"a": 1, "b": 1}, {"a": 10, "b": 10}, 19, {"b": 4}, {"b": 8})


@pytest.mark.parametrize("share", [-1.0, math.nan, math.inf])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UserError, match="b: the share"):
        budgets.fill({"a": 1, "b": share}, {"a": 10, "b": 10}, 5)


def test_orthogonal_floor_is_the_smaller_side():
    assert budgets.floor_of("orthogonal", (10, 784)) == budgets.floor_of("orthogonal", (784, 10)) == 10
    assert budgets.floor_of("orthogonal", (32, 16, 3, 3)) == 16
    assert budgets.floor_of("none", (10, 784)) == 0


def _named(layers):
    names = [f"l{i}" for i in range(len(layers))]
    sizes = {n: size for n, (size, _, _) in zip(names, layers, strict=True)}
    floors = {n: min(size, floor) for n, (size, floor, _) in zip(names, layers, strict=True)}
    shares = {n: share for n, (_, _, share) in zip(names, layers, strict=True)}
    return sizes, floors, shares
