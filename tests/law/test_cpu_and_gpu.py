"""Masks and initial weights are drawn on the CPU: a model on a GPU gets the same ones, and scores agree in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import sparse_ortho as so
from sparse_ortho.inits.initialize import initialize
from sparse_ortho.masks import Masks, maskable, select
from sparse_ortho.models.lenet import lenet300_100
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.probe import Probe
from sparse_ortho.prune import choose
from sparse_ortho.registry import available, beside, load
from sparse_ortho.signatures import options_of
from sparse_ortho.streams import Streams

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")


def small_vgg() -> nn.Module:
    parts: list[nn.Module] = []
    for before, after in ((3, 8), (8, 16), (16, 32), (32, 32)):
        conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        parts += [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Dropout(), nn.Linear(32, 10))


NETS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "lenet300_100": (lambda: lenet300_100((1, 28, 28), 10), (1, 28, 28)),
    "resnet": (lambda: cifar_resnet((3, 16, 16), 10, depth=8, width=8), (3, 16, 16)),
    "vgg_bn": (small_vgg, (3, 16, 16)),
}
SCHEMES = [name for name in available()["densities"] if name != "fixed"]
SCORES = [name for name in available()["scores"] if beside("scores", name, "NEEDS", ())]
DRAWN = [name for name in available()["inits"] if not beside("inits", name, "NEEDS", ())]
SAO: list[dict[str, Any]] = [
    *(
        {"construction": made, "values": kind}
        for made in ("published", "expander")
        for kind in ("orthogonal", "normal")
    ),
    *({"relu": True}, {"kernel": "delta_eco"}, {"values": "uniform"}),
]


def both(build: Any) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = build()
    return model, copy.deepcopy(model).cuda()


def squares() -> nn.Module:
    """Layers that every initialisation can make: sides with divisors, odd kernels, a group, no bias."""
    wrapped = nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular", bias=False)
    grouped = nn.Conv2d(16, 16, 5, groups=2, bias=False)
    return nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), wrapped, grouped, nn.Flatten(), nn.Linear(64, 32))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("score", ["random", "random_flow"])
@pytest.mark.parametrize("net", NETS)
def test_random_masks_of_every_density_scheme_are_equal(net: str, score: str, scheme: str) -> None:
    here, there = both(NETS[net][0])
    density = 0.9 if beside("densities", scheme, "DENSE", None) else 0.2  # the ends of LeNet-300-100 are most of it
    one, other = (so.make_masks(model, density, score=score, layers=scheme, seed=3) for model in (here, there))
    assert all(mask.device.type == "cuda" for mask in other.values())
    assert list(one) == list(other) and all(torch.equal(one[n], other[n].cpu()) for n in one)
    assert one.digest() == other.digest()


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("score", SCORES)
def test_scores_in_float64_choose_the_same_weights(score: str, net: str) -> None:
    build, shape = NETS[net]
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(20, *shape, generator=generator, dtype=torch.float64), torch.arange(20) % 10
    few = {"rounds": 3} if options_of(load("scores", score)).get("rounds", 1) > 3 else {}
    kept = []
    for model in both(lambda: build().double()):
        weights = {n: w.detach() for n, w in maskable(model).items()}
        probe = Probe(model, weights, [(x, y)], cross_entropy, shape)
        how = {"score": score, "layers": "global", "streams": Streams(0), "score_options": few}
        kept.append(torch.cat([mask.flatten() for mask in choose(probe, 0.1, **how).values()]))
    one, other = kept
    assert int(one.sum()) == int(other.sum())
    assert int((one & other).sum()) >= 0.999 * int((one | other).sum())


@pytest.mark.parametrize("counts", [700, {"a": 250, "b": 40}])
def test_the_best_of_equal_scores_are_equal(counts: int | dict[str, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = {n: torch.randint(9, (size, 25), generator=generator).double() for n, size in (("a", 40), ("b", 12))}
    one, other = select(scores, counts), select({n: s.cuda() for n, s in scores.items()}, counts)
    assert all(torch.equal(one[n], other[n].cpu()) for n in scores)


@pytest.mark.parametrize("repair", ["units", "flow"])
def test_repaired_masks_are_equal(repair: str) -> None:
    here, there = both(NETS["lenet300_100"][0])
    data = [(torch.zeros(2, 1, 28, 28), torch.zeros(2, dtype=torch.int64))]
    one, other = (so.make_masks(m, 0.02, layers="erk", repair=repair, data=data, seed=0) for m in (here, there))
    assert one.digest() == other.digest()


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in DRAWN), *(("sao", some) for some in SAO)])
def test_initial_weights_and_masks_are_equal(name: str, options: dict[str, Any]) -> None:
    told = {"steps": 20} | options if name.startswith(("isometry", "ortho_repair@")) else options
    known = options_of(load("inits", name))
    told = {key: value for key, value in told.items() if key in known}
    mirrored = "looks" in name or options.get("relu")
    given = []
    for model in both(squares if not mirrored else lambda: nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 16))):
        masks = so.make_masks(model, 0.5, layers="uniform", seed=1)
        moved = initialize(model, masks, name, Streams(4), options=told, bias_std=0.1)
        assert isinstance(moved, Masks) and {mask.device.type for mask in moved.values()} == {masks_device(model)}
        given.append((moved.digest(), {n: p.detach().cpu() for n, p in model.named_parameters()}))
    (one, here), (other, there) = given
    assert one == other and all(torch.equal(here[n], there[n]) for n in here)


def masks_device(model: nn.Module) -> str:
    return next(model.parameters()).device.type
