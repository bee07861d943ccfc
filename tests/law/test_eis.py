"""Structured EOI: orthogonal kernels that are kept or removed whole, as many as the budget has room for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.nn import functional as F

import sparse_ortho as so
from sparse_ortho.inits.eoi import eoi
from sparse_ortho.inits.eoi_structured import eoi_structured
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.probe import Probe
from sparse_ortho.prune import make_masks
from sparse_ortho.streams import Streams

SIDE = st.integers(1, 8)
SHAPE = st.tuples(SIDE, SIDE, st.sampled_from([(), (1, 1), (3, 3), (5, 5), (3,)])).map(lambda s: (*s[:2], *s[2]))
RAW = {"data": "digits", "model": {"name": "mlp", "width": 64}, "density": 0.125}


def probe_of(shapes):
    return Probe(nn.Identity(), {name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def masks_of(shapes, counts):
    return {n: (torch.arange(math.prod(s)) < counts[n]).view(s) for n, s in shapes.items()}


def run(shapes, counts, seed=0, **options):
    return eoi_structured(probe_of(shapes), masks_of(shapes, counts), Streams(seed), **options)


def kernels_of(mask):
    """Which kernels are kept; none is kept in part."""
    flat = mask.reshape(*mask.shape[:2], -1)
    assert torch.equal(flat.any(2), flat.all(2))
    return flat.any(2)


def centre(weight):
    return weight[(..., *(side // 2 for side in weight.shape[2:]))]


@settings(deadline=None, derandomize=True)
@given(st.lists(SHAPE, min_size=1, max_size=4), st.data())
def test_whole_kernels_fill_the_budget_and_every_layer_is_orthogonal(shapes, data):
    shapes = {f"l{i}": shape for i, shape in enumerate(shapes)}
    counts = {n: data.draw(st.integers(0, math.prod(s))) for n, s in shapes.items()}
    taps = {n: math.prod(s[2:]) for n, s in shapes.items()}
    least, total = sum(min(s[:2]) * taps[n] for n, s in shapes.items()), sum(counts.values())
    if total < least:
        with pytest.raises(so.UserError, match=rf"\({least} to "):
            run(shapes, counts)
        return
    weights, masks = run(shapes, counts, gain=1.5)
    kept = {n: int(kernels_of(mask).sum()) for n, mask in masks.items()}
    left = total - sum(kept[n] * taps[n] for n in shapes)
    assert left >= 0
    assert not [n for n, s in shapes.items() if taps[n] <= left and kept[n] < math.prod(s[:2])]
    for name, weight in weights.items():
        matrix = centre(weight).double() / 1.5
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        assert abs(wide @ wide.T - torch.eye(len(wide))).max() < 5e-7
        assert weight.count_nonzero() == matrix.count_nonzero() and not weight[~masks[name]].any()


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=4), st.floats(0, 1))
def test_of_linear_layers_it_is_eoi_itself(shapes, where):
    shapes = {f"l{i}": shape for i, shape in enumerate(shapes)}
    counts = {n: min(s) + round(where * (math.prod(s) - min(s))) for n, s in shapes.items()}
    for ours, theirs in zip(
        run(shapes, counts), eoi(probe_of(shapes), masks_of(shapes, counts), Streams(0)), strict=True
    ):
        assert all(torch.equal(ours[n], theirs[n]) for n in shapes)


def test_kernels_by_hand():
    shapes = {"a": (4, 4, 3, 3), "b": (4, 4, 3, 3), "c": (4, 4)}
    # 50 = 5 * 9 + 5 and 60 = 6 * 9 + 6: of the 11 left the larger remainder gets a kernel, and the layer of one tap 2
    _, masks = run(shapes, {"a": 50, "b": 60, "c": 8})
    assert [int(kernels_of(m).sum()) for m in masks.values()] == [5, 7, 10]
    assert sum(int(m.sum()) for m in masks.values()) == 50 + 60 + 8
    # a has room for 2 kernels and needs 4: b pays 18 of its 60, and 42 is 4 kernels, and 6 for c
    _, masks = run(shapes, {"a": 18, "b": 60, "c": 0})
    assert [int(kernels_of(m).sum()) for m in masks.values()] == [4, 4, 6]


def test_filled_kernels_are_uniform_among_the_closed():
    # 5 kernels are the identity (6 do not exist for a square), so the 6th is one of the 20 others
    shapes, counts = {"w": (5, 5, 3, 3)}, {"w": 54}
    hits = torch.stack([kernels_of(run(shapes, counts, seed)[1]["w"]) for seed in range(600)]).sum(0).numpy()
    assert (hits.diagonal() == 600).all()
    extra = hits[~np.eye(5, dtype=bool)]
    assert extra.sum() == 600
    assert 1e-3 < stats.chi2(19).cdf(((extra - 30) ** 2 / 30).sum()) < 1 - 1e-3


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_grouped_convolution_keeps_norms(groups):
    model = nn.Conv2d(8, 8, 3, groups=groups, bias=False)
    made = initialize_(model, Masks({"weight": torch.ones_like(model.weight).bool()}), "eoi_structured", seed=0)
    assert made is not None and made.density == 1
    thin = (torch.arange(model.weight.numel()) < 9 * 8).view(model.weight.shape)
    made = initialize_(model, Masks({"weight": thin}), "eoi_structured", seed=0)
    assert made is not None and int(kernels_of(made["weight"]).sum()) == 8
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    y = F.conv2d(F.pad(x, [1] * 4, mode="circular"), model.weight.detach(), groups=groups)
    torch.testing.assert_close(y.norm(), x.norm(), rtol=1e-5, atol=0)


def test_dense_ends_stay_whole_and_the_rest_comes_in_kernels():
    layers = [nn.Conv2d(3, 16, 3), *(nn.Conv2d(16, 16, 3) for _ in range(6)), nn.Flatten(), nn.Linear(16, 10)]
    model = nn.Sequential(*layers)
    masks = make_masks(model, 0.25, layers="uniform_skip", seed=0)
    made = initialize_(model, masks, "eoi_structured", seed=0)
    assert made is not None and 0 <= masks.nonzeros - made.nonzeros < 9
    first, *hidden, last = maskable(model)
    assert made[first].all() and made[last].all()
    assert max(abs(int(made[n].sum()) - int(masks[n].sum())) for n in hidden) < 9


@pytest.mark.parametrize(("word", "mask"), [("uni_skip_EIS", "uniform_skip"), ("erk_EIS", "erk")])
def test_the_words_of_the_released_program(word, mask):
    spelled = resolve_cell(RAW | {"mask": mask, "init": {"name": "eoi_structured", "gain": 1.0247}}, "here")
    assert resolve_cell(RAW | {"mask": word, "init": {"gain": 1.0247}}, "here").id == spelled.id
    with pytest.raises(so.UserError, match=f"{word} says init=eoi_structured, and init says otherwise .found 'eoi'"):
        resolve_cell(RAW | {"mask": word, "init": {"name": "eoi"}}, "here")
