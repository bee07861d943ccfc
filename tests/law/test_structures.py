"""Structures keep whole units, the best ones, and spend their budget to less than a unit."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import sparse_ortho as so
from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.models.lenet import lenet300_100
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose
from sparse_ortho.registry import available, load
from sparse_ortho.signatures import options_of
from sparse_ortho.streams import Streams
from sparse_ortho.structures.units import Units
from tests.law.test_rounds_of_pruning import narrow_vgg16

NETS = {
    "lenet300_100": (lambda: lenet300_100((1, 8, 8), 10), (1, 8, 8)),
    "resnet": (lambda: cifar_resnet((3, 8, 8), 10, depth=8, width=4), (3, 8, 8)),
    "vgg_bn": (lambda: narrow_vgg16(32), (3, 32, 32)),
}
DENSITIES = (1, 0.5, 0.1, 0.05, 0.01, 0.001)
BLOCK = {"name": "block", "rows": 4, "cols": 4}


def probe_of(model, shape=None, batches=None):
    weights = {n: w.detach() for n, w in maskable(model).items()}
    return Probe(model, weights, batches, cross_entropy, shape)


def net_of(name, seed=0):
    build, shape = NETS[name]
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(2)
    batches = [(torch.randn(20, *shape, generator=generator), torch.arange(20) % 10)]
    return probe_of(build(), shape, batches)


def few(score):
    """Two rounds of what has a hundred."""
    known = options_of(load("scores", score))
    short = {"rounds": 2, "images": 2}
    return {name: short[name] for name in short if name in known and known.get("rounds", 1) > 1}


def one_layer(weight, groups=1, score="magnitude"):
    """A network of one layer with these weights, and its mask by magnitude."""
    weight = torch.as_tensor(weight, dtype=torch.float32)
    out, into, *sides = weight.shape
    layer = nn.Linear(into, out, bias=False) if not sides else nn.Conv2d(into * groups, out, 1, groups=groups)
    layer.weight.data = weight
    return layer


def mask_of(weight, count, structure, groups=1):
    layer = one_layer(weight, groups)
    size = layer.weight.numel()
    return so.make_masks(layer, count / size, score="magnitude", layers="global", seed=0, structure=structure)["weight"]


def whole(kind, mask, groups):
    """Whether a mask has units of a kind, by the definition of each, and the sizes of all of its units."""
    flat = mask.flatten(1)
    if kind == "kernel":
        kernels = mask.flatten(2) if mask.ndim > 2 else mask[..., None]
        return torch.equal(kernels.any(2), kernels.all(2)), {kernels.shape[2]}
    if kind == "fan_in":
        return len(flat.sum(1).unique()) == 1, {len(mask)}
    height, sizes, fine = len(mask) // groups, set(), True
    for top in range(0, len(mask), height):
        for row in range(top, top + height, 4):
            for col in range(0, flat.shape[1], 4):
                part = flat[row : min(row + 4, top + height), col : col + 4]
                sizes.add(part.numel())
                fine = fine and bool(part.all() == part.any())
    return fine, sizes


def left_out(kind, mask, groups):
    """The sizes of the units that are not kept."""
    flat = mask.flatten(1)
    if kind == "kernel":
        kernels = mask.flatten(2) if mask.ndim > 2 else mask[..., None]
        return {kernels.shape[2]} if not kernels.any(2).all() else set()
    if kind == "fan_in":
        return {len(mask)} if not mask.all() else set()
    height, sizes = len(mask) // groups, set()
    for top in range(0, len(mask), height):
        for row in range(top, top + height, 4):
            for col in range(0, flat.shape[1], 4):
                part = flat[row : min(row + 4, top + height), col : col + 4]
                sizes |= set() if part.any() else {part.numel()}
    return sizes


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("structure", ["kernel", "fan_in", "block"])
@pytest.mark.parametrize("score", available()["scores"])
def test_every_score_meets_every_budget_to_less_than_a_unit(score, structure, net):
    probe = net_of(net)
    size = sum(w.numel() for w in probe.weights.values())
    options = few(score)
    targets = [(d, "global") for d in DENSITIES[1:]] + [(1, "erk"), (0.1, "erk"), (0.01, "uniform")]
    for density, layers in targets if net == "resnet" or not options else targets[1:6:2]:
        asked = budget(density, size)
        told = {"score": score, "layers": layers, "streams": Streams(0), "score_options": options}
        try:
            kept = choose(probe, density, structure=structure, **told)
        except UserError as error:
            least = min(min(whole(structure, torch.ones(w.shape), 1)[1]) for w in probe.weights.values())
            assert asked < least and f"({least} to {size} weights)" in str(error)
            continue
        got = sum(int(mask.count_nonzero()) for mask in kept.values())
        assert all(whole(structure, mask, 1)[0] for mask in kept.values())
        others = set().union(*(left_out(structure, mask, 1) for mask in kept.values()))
        least = (max if options else min)(others, default=math.inf)  # what a round has pruned fits, and does not return
        assert got <= asked and asked - got < least, (density, layers, asked, got)


def test_a_kernel_is_worth_the_sum_of_its_scores():
    weight = np.zeros((2, 2, 1, 2))
    weight[0, 0] = [[3, 1]]  # 4
    weight[0, 1] = [[0, 5]]  # 5: the best weight is here
    weight[1, 0] = [[3, 3]]  # 6: and the best kernel here
    weight[1, 1] = [[2, 1]]  # 3
    assert mask_of(weight, 2, "kernel").nonzero()[:, :2].tolist() == [[1, 0], [1, 0]]
    assert mask_of(weight, 4, "kernel").any(3).any(2).tolist() == [[False, True], [True, False]]
    assert mask_of(weight, 5, "kernel").sum() == 4  # a fifth weight is half a kernel


def test_constant_fan_in_keeps_the_best_of_every_row():
    weight = [[8, 7, 6, 5], [1, 4, 2, 3]]  # the four best of all are those of the first row
    assert mask_of(weight, 4, "fan_in").int().tolist() == [[1, 1, 0, 0], [0, 1, 0, 1]]
    assert mask_of(weight, 5, "fan_in").sum() == 4
    with pytest.raises(UserError, match=r"density: .*\(2 to 8 weights\)"):
        mask_of(weight, 1, "fan_in")


def test_layers_of_constant_fan_in_get_degrees_by_what_their_next_best_weights_score():
    model = nn.Sequential(one_layer([[9.0, 1.0], [9.0, 1.0]]), one_layer([[5.0, 4.0], [5.0, 4.0]]))
    masks = so.make_masks(model, 6 / 8, score="magnitude", layers="global", seed=0, structure="fan_in")
    assert masks["0.weight"].int().tolist() == [[1, 0], [1, 0]]  # 9 > 5 > 4 > 1
    assert masks["1.weight"].int().tolist() == [[1, 1], [1, 1]]


def test_n_of_every_m_are_the_best_of_their_group():
    weight = [[1, 2, 3, 4, 8, 7, 6, 5], [4, 1, 3, 2, 0, 0, 0, 9]]
    made = mask_of(weight, 8, {"name": "n_m", "n": 2, "m": 4})
    assert made.int().tolist() == [[0, 0, 1, 1, 1, 1, 0, 0], [1, 0, 1, 0, 1, 0, 0, 1]]
    assert mask_of(weight, 4, {"name": "n_m", "n": 1, "m": 4}).int().tolist() == [
        [0, 0, 0, 1, 1, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("score", available()["scores"])
def test_n_m_has_n_of_every_m_channels_in_every_layer(score, net):
    probe, options = net_of(net), few(score)
    for n, m in ((2, 4), (1, 3)):
        spec = {"name": "n_m", "n": n, "m": m}
        told = {"score": score, "layers": "uniform", "streams": Streams(0), "score_options": options}
        kept = choose(probe, n / m, structure=spec, **told)
        for name, mask in kept.items():
            for first in range(0, mask.shape[1], m):
                part = mask[:, first : first + m]
                assert (part.sum(1) == min(n, part.shape[1])).all(), name
        assert all(torch.equal(kept[n], again) for n, again in choose(probe, None, structure=spec, **told).items())


def test_n_m_refuses_every_other_density_and_says_which_it_has():
    with pytest.raises(UserError, match=r"density: .*found 0\.3.*allowed: 0\.5"):
        mask_of(np.ones((4, 10)), 12, "n_m")
    with pytest.raises(UserError, match="n_m.n"):
        mask_of(np.ones((4, 10)), 12, {"name": "n_m", "n": 5, "m": 4})


def test_blocks_are_cut_at_the_edges_and_hold_no_two_groups():
    grouped = np.zeros((6, 1, 1, 3))  # two groups of three rows; blocks of 2 x 2 are 2x2 2x1 1x2 1x1 in each
    grouped[2, 0, 0] = [0, 0, 9]  # the last row of the first group: a block of one weight
    grouped[3, 0, 0] = [7, 7, 0]  # the first two rows of the second: 14 / 4 a weight
    mask = mask_of(grouped, 5, {"name": "block", "rows": 2, "cols": 2}, groups=2).view(6, 3)
    assert mask.nonzero().tolist() == [[2, 2], [3, 0], [3, 1], [4, 0], [4, 1]]
    assert mask_of(np.arange(1.0, 17).reshape(4, 4), 4, {"name": "block", "rows": 2, "cols": 2}).int().tolist() == [
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    ]


@pytest.mark.parametrize(("kind", "units"), [("kernel", 4), ("fan_in", 6), ("block", 3)])
def test_grouped_convolutions_are_covered_once(kind, units):
    made = load("structures", kind)(np.random.default_rng(0).random((4, 1, 2, 3)), 4)
    assert isinstance(made, Units) and made.of.shape == (4, 1, 2, 3)
    numbers = np.unique(made.of)
    assert len(numbers) == math.prod(made.grid) and made.sizes.sum() == 24
    assert len(numbers) == (units if kind != "block" else 4 * 2)


def test_tied_scores_keep_the_first_units_and_the_exact_number():
    mask = mask_of(np.ones((4, 5, 3, 3)), 9 * 7, "kernel")
    assert mask.sum() == 63 and mask.flatten(2).any(2).flatten().nonzero().flatten().tolist() == list(range(7))
    assert (mask_of(np.ones((4, 6)), 12, "fan_in").nonzero()[:, 1] < 3).all()


def test_random_kernels_are_uniform_whatever_their_size():
    """Means of nine draws would leave no 3 x 3 kernel beside 1 x 1 ones at this density."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(40, 40, 3), nn.Conv2d(40, 40, 1))
    masks = so.make_masks(model, 0.1, score="random", layers="global", seed=0, structure="kernel")
    large, small = (float(masks[f"{n}.weight"].float().mean()) for n in (0, 1))
    sd = math.sqrt(0.1 * 0.9 / 1600)
    assert abs(large - 0.1) < 4 * sd and abs(small - 0.1) < 4 * sd


def test_a_released_draw_of_each_weight_goes_with_whole_units_alone():
    probe = net_of("resnet")
    told = {"score": "random", "layers": "uniform", "streams": Streams(0), "score_options": {"exact": False}}
    kept = choose(probe, 0.3, structure="kernel", **told)
    assert all(whole("kernel", mask, 1)[0] for mask in kept.values())
    kernels = sum(math.prod(w.shape[:2]) for w in probe.weights.values())
    found = sum(int(m.flatten(2).any(2).sum() if m.ndim > 2 else m.sum()) for m in kept.values())
    assert abs(found - 0.3 * kernels) < 4 * math.sqrt(0.21 * kernels)
    with pytest.raises(UserError, match="fan_in keeps exact numbers"):
        choose(probe, 0.3, structure="fan_in", **told)


@pytest.mark.parametrize("structure", ["kernel", "fan_in", "block"])
def test_rounds_with_a_structure_never_bring_back(structure, monkeypatch):
    probe, seen = net_of("resnet"), []
    from sparse_ortho.scores import snip as module

    original = module.snip

    def spy(probe, streams, *, rounds=1, path="exponential"):
        seen.append({n: w != 0 for n, w in probe.weights.items()})
        return original(probe, streams)

    monkeypatch.setattr(module, "snip", spy)
    kept = choose(
        probe, 0.1, score="snip", layers="global", streams=Streams(0), score_options={"rounds": 4}, structure=structure
    )
    steps = [*seen, kept]
    assert len(steps) == 5 and all(
        not (after[n] & ~before[n]).any() for before, after in zip(steps, steps[1:], strict=False) for n in kept
    )
    assert all(whole(structure, mask, 1)[0] for step in steps[1:] for mask in step.values())
