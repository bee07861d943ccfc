"""What the plan knows of models: every shape in its order, and a refusal exactly where a method would refuse."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.shapes import as_runs, facts_of, known, layers, refuse_unreachable, size_of
from sparse_ortho.prune import make_masks
from sparse_ortho.registry import load

MLP = {"name": "mlp", "width": 64}  # 64 x 64 six times, then 10 x 64
RESNET = {"name": "resnet", "depth": 8, "width": 8}
SIDE = st.integers(1, 4)
SHAPES = st.lists(st.tuples(SIDE, SIDE) | st.tuples(SIDE, SIDE, SIDE, SIDE), max_size=12)


@given(SHAPES)
def test_runs_keep_every_shape_in_its_order(shapes):
    facts = {"weights": as_runs(shapes)}
    assert layers(facts) == shapes
    assert size_of(facts) == sum(map(math.prod, shapes))
    assert all(one[1] != other[1] for one, other in zip(facts["weights"], facts["weights"][1:], strict=False))


def test_a_thousand_equal_layers_are_one_entry():
    assert as_runs([(8, 4), *[(8, 8)] * 998, (2, 8)]) == [[1, [8, 4]], [998, [8, 8]], [1, [2, 8]]]


@pytest.mark.parametrize("text", [text for text in known() if '"depth":1000' not in text])
def test_the_file_has_the_shapes_of_the_built_model(text):
    spec = json.loads(text)
    name, options = spec["model"].pop("name"), spec["model"]
    with torch.device("meta"):
        model = load("models", name)(tuple(spec["shape"]), spec["classes"], **options)
    assert layers(known()[text]) == [tuple(weight.shape) for weight in maskable(model).values()]


# The fewest weights, by hand: the ends whole; one in each of min(rows, cols); of a kept 3x3 kernel all nine.
# The residual net: seven 3x3 convolutions, two 1x1 shortcuts, a linear layer.
LEAST = [
    (MLP, "uniform_skip", "kaiming", 64 * 64 + 10 * 64, "uniform_skip"),
    (MLP, "uniform_skip", "eoi", 64 * 64 + 10 * 64, "uniform_skip"),
    (MLP, "erk", "eoi", 6 * 64 + 10, "eoi"),
    (MLP, "erk", "eoi_structured", 6 * 64 + 10, "eoi_structured"),
    (RESNET, "erk", "eoi", (1 + 8 + 8 + 8 + 16 + 16 + 32) + (8 + 16) + 10, "eoi"),
    (RESNET, "erk", "eoi_structured", 9 * (1 + 8 + 8 + 8 + 16 + 16 + 32) + (8 + 16) + 10, "eoi_structured"),
    (RESNET, "uniform_skip", "orthogonal", 8 * 9 + 10 * 32, "uniform_skip"),
]


@pytest.mark.parametrize(("model", "mask", "init", "least", "who"), LEAST)
def test_the_plan_refuses_below_the_least_and_nothing_above(model, mask, init, least, who):
    raw = {"data": "digits", "model": model, "mask": mask, "init": init}
    facts = facts_of(resolve_cell(raw | {"density": 1.0}, "here").nodes["init"].spec)
    assert facts
    size = size_of(facts)
    low, high = round((least - 1) / size, 9), round(least / size, 9)
    assert (budget(low, size), budget(high, size)) == (least - 1, least)
    with pytest.raises(UserError, match=rf"here.density: out of reach of {who} on .*needs {least} of {size} weights"):
        refuse_unreachable(resolve_cell(raw | {"density": low}, "here"), "here")
    refuse_unreachable(resolve_cell(raw | {"density": high}, "here"), "here")


@pytest.mark.parametrize(("init", "least"), [("eoi", LEAST[4][3]), ("eoi_structured", LEAST[5][3])])
def test_the_initialisation_itself_has_the_same_bound(init, least):
    def masks(count):
        model = cifar_resnet((1, 8, 8), 10, depth=8, width=8)
        left, found = count, {}
        for name, weight in maskable(model).items():
            taken = min(left, weight.numel())
            found[name] = (torch.arange(weight.numel()) < taken).view(weight.shape)
            left -= taken
        return model, Masks(found, model)

    with pytest.raises(UserError, match="out of reach"):
        initialize_(*masks(least - 1), init, seed=0)
    made = initialize_(*masks(least), init, seed=0)
    assert made is not None and made.nonzeros == least


def test_the_scheme_itself_has_the_same_bound():
    model, least, size = cifar_resnet((1, 8, 8), 10, depth=8, width=8), 8 * 9 + 10 * 32, 19_464
    with pytest.raises(UserError, match="first and the last layer whole"):
        make_masks(model, round((least - 1) / size, 9), layers="uniform_skip", seed=0)
    assert make_masks(model, round(least / size, 9), layers="uniform_skip", seed=0).nonzeros == least
