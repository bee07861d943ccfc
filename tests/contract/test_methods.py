"""What every registered score, density scheme and initialisation promises, whoever wrote it."""

import ast
import importlib
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.inits.initialize import initialize
from sparse_ortho.masks import maskable
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose, make_masks
from sparse_ortho.registry import available, beside, load, resolve
from sparse_ortho.signatures import options_of
from sparse_ortho.streams import Streams

SCORES, DENSITIES, INITS = (available()[kind] for kind in ("scores", "densities", "inits"))
METHODS = [(kind, name) for kind in ("scores", "densities", "inits", "rules") for name in available()[kind]]
TARGETS = [0.05, 0.5, 1.0]
SHORT = {  # options of methods that take seconds otherwise
    "gradinit": {"iters": 4},
    "gradinit@as_released": {"iters": 4},
    "isometry@as_released": {"steps": 20},
    "metainit": {"steps": 3, "batch": 16},
}


def net():
    torch.manual_seed(0)
    parts = [nn.Linear(12, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 4)]
    return nn.Sequential(*parts)


class Skip(nn.Module):
    """Convolutions, one of them depthwise, normalisation and a skip; takes the twelve inputs of `net` as an image."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.bn(self.conv(x.view(-1, 1, 3, 4))).relu()
        return self.fc((x + self.point(self.depthwise(x))).mean((2, 3)))


def skip_net():
    torch.manual_seed(0)
    return Skip()


def batches():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(16, 12, generator=generator), torch.arange(16) % 4) for _ in range(2)]


def probe_of(model):
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()}, batches(), cross_entropy)


def everything(model):
    """All bytes, modes and gradients of a model."""
    state = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    grads = [p.grad is None for p in model.parameters()], [p.requires_grad for p in model.parameters()]
    return state, grads, [m.training for m in model.modules()], [len(m._forward_hooks) for m in model.modules()]


def digests(tensors):
    return {name: (str(t.dtype), t.numpy().tobytes()) for name, t in tensors.items()}


def dense_ends(scheme, shapes):
    """The weights that a density scheme keeps whatever the total; below them it has to refuse."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    fixed = beside("densities", scheme, "DENSE", {}) if scheme in DENSITIES else {}
    ends = {"first": 1.0, "last": 1.0} if fixed == "ends" else fixed
    where = {"first": sizes[0], "last": sizes[-1]}
    return sum(budget(density, where[end]) for end, density in ends.items())


def exact(scheme):
    """Whether a density scheme meets its total, as all do that are not released programs'."""
    return scheme not in DENSITIES or beside("densities", scheme, "EXACT", True)


@pytest.mark.parametrize("density", TARGETS)
@pytest.mark.parametrize("layers", ["global", *DENSITIES])
@pytest.mark.parametrize("score", SCORES)
def test_every_score_meets_every_budget_exactly(score, layers, density):
    if budget(density, 232) < (least := dense_ends(layers, {n: w.shape for n, w in maskable(net()).items()})):
        with pytest.raises(UserError, match=rf"allowed: \[.*\({least} to 232 weights\)"):
            make_masks(net(), density, score=score, layers=layers, seed=0, data=batches(), loss=cross_entropy)
        return
    masks = make_masks(net(), density, score=score, layers=layers, seed=0, data=batches(), loss=cross_entropy)
    expected = budget(density, 120 + 80 + 32)
    if not exact(layers):
        shapes = {n: tuple(w.shape) for n, w in maskable(net()).items()}
        expected = sum(load("densities", layers)(shapes, expected).values())
    assert masks.nonzeros == expected
    assert list(masks) == ["0.weight", "3.weight", "5.weight"]


@pytest.mark.parametrize("layers", SCORES)
@pytest.mark.parametrize("score", SCORES)
def test_every_score_can_give_the_layers_of_every_other(score, layers):
    direct = make_masks(net(), 0.2, score=layers, layers="global", seed=0, data=batches())
    masks = make_masks(net(), 0.2, score=score, layers=layers, seed=0, data=batches())
    assert {n: m.sum() for n, m in masks.items()} == {n: m.sum() for n, m in direct.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("score", SCORES)
def test_scoring_leaves_the_model_and_the_global_generator_alone(score, dtype):
    model = net().to(dtype)  # where a score calculates in the model's own type, a conversion copies nothing
    before, state = everything(model), torch.get_rng_state()
    make_masks(model, 0.5, score=score, layers="global", seed=0, data=batches(), loss=cross_entropy)
    assert everything(model) == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("score", SCORES)
def test_scores_are_finite_have_the_layers_shapes_and_repeat(score):
    model = net()
    first, again = (load("scores", score)(probe_of(model), Streams(0)) for _ in range(2))
    assert {n: s.shape for n, s in first.items()} == {n: w.shape for n, w in maskable(model).items()}
    assert all(s.isfinite().all() and not s.requires_grad for s in first.values())
    assert digests(first) == digests(again)


@pytest.mark.parametrize("score", SCORES)
def test_a_smaller_density_keeps_a_subset_when_scored_once(score):
    kept = [choose(probe_of(net()), d, score=score, layers="global", streams=Streams(0)) for d in (0.1, 0.5)]
    if options_of(load("scores", score)).get("rounds", 1) == 1:  # an iterative score ranks again after every cut
        assert all(not (kept[0][n] & ~kept[1][n]).any() for n in kept[0])


@pytest.mark.parametrize("density", [0.001, *TARGETS])
@pytest.mark.parametrize("scheme", DENSITIES)
def test_every_density_scheme_is_exact_in_any_order_of_layers(scheme, density):
    shapes = {"a": (16, 3, 3, 3), "b": (32, 16, 3, 3), "c": (10, 32), "d": (100, 784)}
    total = budget(density, sum(map(math.prod, shapes.values())))
    if total < (least := dense_ends(scheme, shapes)):
        with pytest.raises(UserError, match=rf"allowed: \[.*\({least} to 83760 weights\)"):
            load("densities", scheme)(shapes, total)
        return
    counts = load("densities", scheme)(shapes, total)
    assert list(counts) == list(shapes) and all(type(k) is int for k in counts.values())
    assert sum(counts.values()) == total or not exact(scheme)
    assert all(0 <= counts[n] <= math.prod(s) for n, s in shapes.items())
    if beside("densities", scheme, "ORDERED", False):
        return
    backwards = load("densities", scheme)(dict(reversed(shapes.items())), total)
    assert all(abs(backwards[n] - counts[n]) <= 1 for n in shapes)  # only remainders that tie may go elsewhere


LEAST = {  # of single weights: 22 and 21
    ("eoi_structured", skip_net): 93,  # 1, 8, 8, 4 kernels of 9, 9, 1, 1 weights
    ("max_sparse_orthogonal", net): 84,  # c + 3 r - 4: 38, 30, 16
    ("max_sparse_orthogonal", skip_net): 60,  # 8, 8 of one weight each, 28, 16
}


def in_whole_units(unit, made, total):
    """What a structured initialisation, which has a UNIT, promises in place of the exact total."""
    if unit == "rotation":  # of the matrix of a layer one adds at most twice its shorter side
        return abs(total - made.nonzeros) <= sum(min(mask.shape[:2]) for mask in made.values())
    kernels = [mask.flatten(2) if mask.ndim > 2 else mask[..., None] for mask in made.values()]
    assert all(torch.equal(kernel.any(2), kernel.all(2)) for kernel in kernels)
    if unit == "kernel":
        return 0 <= total - made.nonzeros < 9
    assert unit == "degree"
    wide = [k.any(2) if k.shape[0] <= k.shape[1] else k.any(2).T for k in kernels]
    return all(len(matrix.sum(1).unique()) == len(matrix.sum(0).unique()) == 1 for matrix in wide)


@pytest.mark.parametrize("density", [0.15, 0.5, 1.0])  # the floor of an orthogonal one: 22 of 232 and 21 of 240 weights
@pytest.mark.parametrize("build", [net, skip_net])
@pytest.mark.parametrize("name", INITS)
def test_every_init_keeps_the_budget_and_repeats(name, build, density):
    def run():
        model = build()
        masks = make_masks(model, density, seed=0)
        options = SHORT.get(name)
        return model, initialize(model, masks, name, Streams(0), options=options, batches=batches(), loss=cross_entropy)

    total = budget(density, sum(w.numel() for w in maskable(build()).values()))
    if total < (least := LEAST.get((name, build), 0)):
        with pytest.raises(UserError, match=rf"allowed: \[.*\({least} to "):
            run()
        return
    (model, made), (twin, same) = run(), run()
    assert made is not None and same is not None
    unit = beside("inits", name, "UNIT", None)
    assert made.nonzeros == total if unit is None or density == 1 else in_whole_units(unit, made, total)
    assert everything(model) == everything(twin) and made.digest() == same.digest()
    for layer, weight in maskable(model).items():
        assert weight.isfinite().all() and not weight[~made[layer]].any()
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d))
    if not beside("inits", name, "WHOLE", False):  # such a method may scale normalisation too
        assert (norm.weight == 1).all()
    assert not norm.bias.any()
    assert model.eval()(batches()[0][0]).isfinite().all()


@pytest.mark.parametrize("build", [net, skip_net])
@pytest.mark.parametrize("name", INITS)
def test_inits_do_not_write_into_what_they_are_given(name, build):
    model = build()
    masks = {n: m.clone() for n, m in make_masks(model, 0.5, seed=0).items()}
    before, kept = everything(model), digests(masks)
    weights, _ = load("inits", name)(probe_of(model), masks, Streams(0), **SHORT.get(name, {}))
    assert everything(model) == before and digests(masks) == kept
    assert all(w.dtype == torch.float32 for w in weights.values())


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_options_have_literal_defaults_and_simple_types(kind, name):
    module, _, attribute = resolve(kind, name).partition(":")
    file = importlib.import_module(module).__file__
    assert file is not None
    with open(file) as source:
        tree = ast.parse(source.read())
    found = [node for node in tree.body if getattr(node, "name", None) == attribute]
    assert len(found) == 1, f"{attribute} is defined once, at the top level of its module"
    if isinstance(found[0], ast.FunctionDef):
        arguments = found[0].args
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            assert default is not None, f"{argument.arg} has a default"
            ast.literal_eval(default)
            assert argument.annotation is not None
            words = {n.id for n in ast.walk(argument.annotation) if isinstance(n, ast.Name)}
            assert words <= {"int", "float", "bool", "str", "Literal", "tuple"}
    for node in tree.body:  # what the plan reads besides
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in {
            "NEEDS",
            "FLOOR",
            "UNIT",
            "DENSE",
            "EXACT",
            "ORDERED",
            "RETURNS",
        }:
            ast.literal_eval(node.value)
