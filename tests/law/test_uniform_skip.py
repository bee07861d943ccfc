"""Uniform between dense ends: whole ends, an exact total, and equal densities between them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparse_ortho as so
from sparse_ortho.densities.uniform_skip import uniform_skip
from sparse_ortho.models.mlp import mlp
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.prune import make_masks

SIDE = st.integers(1, 40)
SHAPE = st.one_of(st.tuples(SIDE, SIDE), st.tuples(SIDE, SIDE, st.integers(1, 5), st.integers(1, 5)))
NET = st.lists(SHAPE, min_size=1, max_size=8)


@settings(deadline=None, derandomize=True)
@given(NET, st.floats(0, 1))
def test_ends_are_whole_and_the_others_within_one_weight_of_their_share(shapes, where):
    named = {f"l{i}": shape for i, shape in enumerate(shapes)}
    sizes = {name: math.prod(shape) for name, shape in named.items()}
    ends = {"l0", f"l{len(shapes) - 1}"}
    least, between = sum(sizes[n] for n in ends), sum(sizes[n] for n in sizes if n not in ends)
    total = least + round(where * between)
    counts = uniform_skip(named, total)
    assert list(counts) == list(named) and sum(counts.values()) == total
    assert all(counts[name] == sizes[name] for name in ends)
    assert all(abs(counts[n] - (total - least) * sizes[n] / between) < 1 for n in sizes if n not in ends)


@settings(deadline=None, derandomize=True)
@given(NET, st.floats(0, 1, exclude_max=True))
def test_a_total_under_the_ends_is_refused_with_the_reachable_range(shapes, where):
    named = {f"l{i}": shape for i, shape in enumerate(shapes)}
    sizes = [math.prod(shape) for shape in shapes]
    least = sizes[0] + (sizes[-1] if len(sizes) > 1 else 0)
    with pytest.raises(so.UserError, match=rf"first and the last layer whole.*\({least} to {sum(sizes)} weights\)"):
        uniform_skip(named, math.floor(where * least))


def test_the_1000_layer_mlp_by_hand():
    shapes = {"0": (128, 784), **{str(i): (128, 128) for i in range(1, 999)}, "999": (10, 128)}
    total = 2_056_608
    assert sum(map(math.prod, shapes.values())) == 998 * 16_384 + 101_632 == 8 * total
    counts = list(uniform_skip(shapes, total).values())
    assert counts[0] == 100_352 and counts[-1] == 1_280
    assert sorted(set(counts[1:-1])) == [1958, 1959]  # (2,056,608 - 101,632) / 998 = 1958.89


def test_the_masks_of_a_network_have_whole_ends():
    masks = make_masks(mlp((8, 8), 10, depth=30, width=32), 0.2, layers="uniform_skip", seed=0)
    densities = list(masks.layer_densities().values())
    assert densities[0] == densities[-1] == 1 and max(densities[1:-1]) - min(densities[1:-1]) <= 1 / 1024 + 1e-12
    assert masks.nonzeros == round(0.2 * masks.size)


@pytest.mark.parametrize(("word", "init"), [("uni_skip_EI", "eoi"), ("uni_skip_AI", "isometry"), ("uni_skip", None)])
def test_the_word_of_the_released_program(word, init):
    raw = {"data": "digits", "model": {"name": "mlp", "depth": 100, "width": 64}, "density": 0.125}
    cell = resolve_cell(raw | {"mask": word, "init": init or "kaiming"} if init is None else raw | {"mask": word}, "x")
    assert cell.nodes["mask"].spec["mask"] == {"score": {"name": "random"}, "layers": {"name": "uniform_skip"}}
    assert cell.nodes["init"].spec["init"] == {"name": init or "kaiming"}
