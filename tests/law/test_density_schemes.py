"""Every density scheme is exact on every registered model, and is the formula of its paper."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from sparse_ortho.budgets import budget
from sparse_ortho.densities.balanced import balanced
from sparse_ortho.densities.er import er
from sparse_ortho.densities.erk import erk
from sparse_ortho.densities.erk_plus import erk_plus
from sparse_ortho.densities.fixed import fixed
from sparse_ortho.densities.pyramid import pyramid, rate
from sparse_ortho.densities.uniform import uniform
from sparse_ortho.densities.uniform_plus import uniform_plus
from sparse_ortho.densities.uniform_skip import uniform_skip
from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.registry import available, load

law = settings(deadline=None, derandomize=True, max_examples=60)
SIDE = st.integers(1, 40)
SHAPE = st.one_of(st.tuples(SIDE, SIDE), st.tuples(SIDE, SIDE, st.integers(1, 5), st.integers(1, 5)))
NET = st.lists(SHAPE, min_size=1, max_size=8)
EXACT = [name for name in available()["densities"] if not name.endswith("@as_released")]
MODELS = available()["models"]
THREE = {"first": (10, 3, 3, 3), "mid": (20, 10, 3, 3), "last": (5, 20)}  # 270, 1800 and 100 weights


def sizes_of(shapes):
    return {name: math.prod(shape) for name, shape in shapes.items()}


def named(shapes):
    return {f"l{i}": shape for i, shape in enumerate(shapes)}


@pytest.fixture(scope="module")
def shapes_of_models():
    with torch.device("meta"):
        built = {name: load("models", name)((16,) if name == "tabular" else (3, 32, 32), 10) for name in MODELS}
    return {name: {n: tuple(w.shape) for n, w in maskable(model).items()} for name, model in built.items()}


@pytest.mark.parametrize("scheme", EXACT)
@pytest.mark.parametrize("model", MODELS)
def test_totals_are_exact_on_every_model(scheme, model, shapes_of_models):
    shapes = shapes_of_models[model]
    sizes, before = sizes_of(shapes), None
    for density in (1, 0.5, 0.1, 0.05, 0.01, 0.001):
        total = budget(density, sum(sizes.values()))
        try:
            counts = load("densities", scheme)(shapes, total)
        except UserError as refused:
            least = {"uniform_skip": 1.0, "uniform_plus": 0.2, "erk_plus": 1.0}[scheme]
            ends = budget(least, list(sizes.values())[-1]) + (scheme != "erk_plus") * list(sizes.values())[0]
            assert total < ends and f"{ends} to " in str(refused)
            continue
        assert list(counts) == list(shapes) and sum(counts.values()) == total
        assert all(0 <= counts[n] <= sizes[n] for n in sizes)
        if before:  # a lower density takes from layers and gives to none, up to the rounding of each
            assert all(counts[n] <= before[n] + 1 for n in sizes)
        before = counts


@law
@given(NET, st.floats(0, 1))
def test_totals_are_exact_and_layers_fit(shapes, where):
    shapes = named(shapes)
    sizes = sizes_of(shapes)
    total = round(where * sum(sizes.values()))
    for scheme in (er, balanced, pyramid, fixed):
        counts = scheme(shapes, total)
        assert sum(counts.values()) == total and all(0 <= counts[n] <= sizes[n] for n in sizes)


@law
@given(NET, st.floats(0.001, 0.999))
def test_balanced_layers_have_one_count_or_are_full(shapes, where):
    shapes = named(shapes)
    sizes = sizes_of(shapes)
    counts = balanced(shapes, round(where * sum(sizes.values())))
    most = max(counts.values())
    assert all(most - 1 <= counts[n] <= most or counts[n] == sizes[n] for n in sizes)


@law
@given(NET, st.floats(0.001, 0.999))
def test_er_layers_have_one_ratio_or_are_full(shapes, where):
    shapes = named(shapes)
    sizes = sizes_of(shapes)
    total = round(where * sum(sizes.values()))

    def density(name, eps):
        c_out, c_in = shapes[name][:2]
        return min(1.0, eps * (c_in + c_out) / (c_in * c_out))

    top = max(c_in * c_out for c_out, c_in, *_ in shapes.values())
    eps = brentq(lambda e: sum(n * density(name, e) for name, n in sizes.items()) - total, 0, top, xtol=1e-13)
    counts = er(shapes, total)
    assert all(abs(counts[n] - sizes[n] * density(n, eps)) < 1 + 1e-6 for n in sizes)


@law
@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=8), st.floats(0, 1))
def test_er_and_erk_are_one_without_convolutions(shapes, where):
    shapes = named(shapes)
    total = round(where * sum(sizes_of(shapes).values()))
    assert er(shapes, total) == erk(shapes, total)


@pytest.mark.parametrize("density", [0.9, 0.3, 0.01])
def test_the_pyramids_rate_is_the_root_of_the_polynomial(density):
    sizes = [200, 90, 700, 1000, 50, 400]
    total = budget(density, sum(sizes))
    roots = np.roots([*reversed(sizes), -total])
    (root,) = [r.real for r in roots if abs(r.imag) < 1e-9 and 0 < r.real < 1]
    assert rate(sizes, total) == pytest.approx(root, abs=1e-12)
    counts = pyramid({f"l{i}": (n,) for i, n in enumerate(sizes)}, total)
    assert all(abs(counts[f"l{i}"] - n * root ** (i + 1)) < 1 for i, n in enumerate(sizes))


def test_a_pyramid_reads_the_order_of_the_layers():
    shapes = named([(10, 10)] * 3)
    forwards, backwards = pyramid(shapes, 50), pyramid(dict(reversed(shapes.items())), 50)
    assert list(forwards.values()) == list(backwards.values()) and forwards["l0"] == backwards["l2"] > forwards["l2"]


def test_uniform_plus_by_hand():
    # 270 + 20 = 290 are fixed; at 1000 of 2170 the last is at 20 + x where (1000 - 270) / 1900 = 0.384 is above 0.2
    assert uniform_plus(THREE, 1000) == {"first": 270, "mid": 692, "last": 38}
    assert uniform_plus(THREE, 400) == {"first": 270, "mid": 110, "last": 20}  # 130 / 1900 is under 0.2
    assert uniform_plus(THREE, 400, head=0.5) == {"first": 270, "mid": 80, "last": 50}
    with pytest.raises(UserError, match=r"289 of 2170 weights .*\(290 to 2170 weights\)"):
        uniform_plus(THREE, 289)
    with pytest.raises(UserError, match=r"densities\.uniform_plus\.head: out of range"):
        uniform_plus(THREE, 400, head=0.0)


@pytest.mark.parametrize("head", [1.0, 0.3])
def test_erk_plus_is_erk_of_the_others(head):
    kept = round(head * 100)
    others = {n: s for n, s in THREE.items() if n != "last"}
    assert erk_plus(THREE, 500, head=head) == erk(others, 500 - kept) | {"last": kept}
    assert erk_plus(THREE, 500, head=head, power=0.0) == uniform(others, 500 - kept) | {"last": kept}
    with pytest.raises(UserError, match=rf"\({kept} to {2070 + kept} weights\)"):
        erk_plus(THREE, kept - 1, head=head)
    with pytest.raises(UserError, match=rf"\({kept} to {2070 + kept} weights\)"):
        erk_plus(THREE, 2071 + kept, head=head)


@pytest.mark.parametrize("rest", ["uniform", "erk", "balanced"])
def test_fixed_layers_keep_theirs_and_the_rest_is_the_scheme_of_the_rest(rest):
    scheme = {"uniform": uniform, "erk": erk, "balanced": balanced}[rest]
    assert fixed(THREE, 500, rest=rest) == scheme(THREE, 500)
    others = {n: s for n, s in THREE.items() if n != "mid"}
    assert fixed(THREE, 500, layers=("m*",), keep=0.1, rest=rest) == scheme(others, 320) | {"mid": 180}


def test_fixed_with_dense_ends_is_uniform_skip():
    shapes = named([(8, 3, 3, 3), (16, 8, 3, 3), (16, 16, 3, 3), (10, 16)])
    assert fixed(shapes, 900, layers=("first", "last")) == uniform_skip(shapes, 900)


def test_fixed_refuses_what_no_layer_is_called():
    with pytest.raises(
        UserError, match=r"densities\.fixed\.layers: no maskable weight matches .*'lost'.*did you mean 'last'"
    ):
        fixed({"a": (2, 2), "last": (3, 3)}, 5, layers=("lost",))
    with pytest.raises(UserError, match="list of patterns"):
        fixed(THREE, 500, layers="last")  # type: ignore[arg-type]
