"""Density schemes give exact totals, and ERK is the loop that was published."""

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sparse_ortho.densities.erk import erk
from sparse_ortho.densities.uniform import uniform

law = settings(deadline=None, derandomize=True)
SIDE = st.integers(1, 40)
SHAPE = st.one_of(st.tuples(SIDE, SIDE), st.tuples(SIDE, SIDE, st.integers(1, 5), st.integers(1, 5)))
NET = st.lists(SHAPE, min_size=1, max_size=8)


def published_loop(shapes, density, power):
    """Layers of the largest raw density become dense and eps is solved again, until none passes 1."""
    raw = {n: (sum(s) / np.prod(s)) ** power for n, s in shapes.items()}
    size = {n: float(np.prod(s)) for n, s in shapes.items()}
    dense, eps = set(), math.inf
    while len(dense) < len(shapes):
        rest = [n for n in shapes if n not in dense]
        right = sum(size[n] * density for n in rest) - sum(size[n] * (1 - density) for n in dense)
        eps = right / sum(raw[n] * size[n] for n in rest)
        largest = max(raw[n] for n in rest)
        if eps * largest <= 1 + 1e-12:
            break
        dense |= {n for n in rest if raw[n] == largest}
    return {n: 1.0 if n in dense else eps * raw[n] for n in shapes}


@law
@given(NET, st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_totals_are_exact_and_layers_fit(shapes, where, power):
    named = {f"l{i}": shape for i, shape in enumerate(shapes)}
    total = round(where * sum(map(math.prod, shapes)))
    for counts in (erk(named, total, power=power), uniform(named, total)):
        assert sum(counts.values()) == total
        assert all(0 <= counts[n] <= math.prod(named[n]) for n in named)


@law
@given(NET, st.floats(0.001, 1), st.sampled_from([0.5, 1.0, 2.0]))
def test_erk_is_the_published_redistribution(shapes, where, power):
    named = {f"l{i}": shape for i, shape in enumerate(shapes)}
    size = sum(map(math.prod, shapes))
    total = round(where * size)
    assume(total > 0)
    counts = erk(named, total, power=power)
    for name, density in published_loop(named, total / size, power).items():
        assert abs(counts[name] - density * math.prod(named[name])) < 1 + 1e-6


@law
@given(NET, st.floats(0, 1))
def test_power_zero_is_uniform(shapes, where):
    named = {f"l{i}": shape for i, shape in enumerate(shapes)}
    total = round(where * sum(map(math.prod, shapes)))
    assert erk(named, total, power=0.0) == uniform(named, total)


@law
@given(NET, st.floats(0, 1))
def test_uniform_layers_are_within_one_weight_of_their_share(shapes, where):
    named = {f"l{i}": shape for i, shape in enumerate(shapes)}
    size = sum(map(math.prod, shapes))
    total = round(where * size)
    assert all(abs(k - total * math.prod(named[n]) / size) < 1 for n, k in uniform(named, total).items())


def test_erk_by_hand():
    # shares 2+2, 2+4, 4+4 = 4, 6, 8 of sizes 4, 8, 16; at 18 of 28 eps is 1: the first layer is exactly dense
    assert erk({"a": (2, 2), "b": (4, 2), "c": (4, 4)}, 18) == {"a": 4, "b": 6, "c": 8}
    # at 25: a and b are capped, c takes the rest
    assert erk({"a": (2, 2), "b": (4, 2), "c": (4, 4)}, 25) == {"a": 4, "b": 8, "c": 13}
