"""Density schemes on the networks of Gadhikar et al. (ICML 2023), against values from the formulas as published.

Realised global densities of schemes that cap without redistribution, the number of layers that ERK makes dense, the
rate of the pyramid, and layer densities of a VGG-16. Shapes are written out here, and are those of our models.
"""

import math

import pytest
import torch

from sparse_ortho.budgets import budget
from sparse_ortho.densities.as_released import balanced_as_released, erk_as_released, uniform_plus_as_released
from sparse_ortho.densities.balanced import balanced
from sparse_ortho.densities.er import er
from sparse_ortho.densities.erk import erk
from sparse_ortho.densities.pyramid import pyramid, rate
from sparse_ortho.masks import maskable
from sparse_ortho.registry import load


def vgg(convolutions, classes):
    """Stages of 3 x 3 convolutions of widths 64 to 512, and one linear layer."""
    widths = [width for width, times in zip((64, 128, 256, 512, 512), convolutions, strict=True) for _ in range(times)]
    shapes = [(after, before, 3, 3) for before, after in zip([3, *widths], widths, strict=False)]
    return [*shapes, (classes, 512)]


def resnet18(classes):
    shapes = [(64, 3, 3, 3)]
    for before, width in zip((64, 64, 128, 256), (64, 128, 256, 512), strict=True):
        shortcut = [(width, before, 1, 1)] if before != width else []
        shapes += [(width, before, 3, 3), (width, width, 3, 3), *shortcut, *[(width, width, 3, 3)] * 2]
    return [*shapes, (classes, 512)]


def resnet50(classes):
    shapes, before = [(64, 3, 3, 3)], 64
    for width, times in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for block in range(times):
            shapes += [(width, before, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            shapes += [(4 * width, before, 1, 1)] if block == 0 else []
            before = 4 * width
    return [*shapes, (classes, 2048)]


def resnet20(classes):
    shapes = [(16, 3, 3, 3), *[(16, 16, 3, 3)] * 6]
    for narrow, wide in ((16, 32), (32, 64)):
        shapes += [(wide, narrow, 3, 3), (wide, wide, 3, 3), (wide, narrow, 1, 1), *[(wide, wide, 3, 3)] * 4]
    return [*shapes, (classes, 64)]


NETS = {
    "VGG16-10": (vgg((2, 2, 3, 3, 3), 10), 14_715_584, ("vgg", {"depth": 16})),
    "VGG19-100": (vgg((2, 2, 4, 4, 4), 100), 20_070_080, ("vgg", {"depth": 19})),
    "ResNet18-10": (resnet18(10), 11_164_352, ("deep_resnet", {"depth": 18, "stem": "cifar"})),
    "ResNet50-100": (resnet50(100), 23_652_032, ("deep_resnet", {"depth": 50, "stem": "cifar"})),
    "ResNet20-10": (resnet20(10), 270_896, ("resnet", {"depth": 20})),
}

# density, layers that ERK makes dense, ERK capped, balanced capped, layers that balanced caps, rate of the pyramid
TABLE = {
    "VGG16-10": [
        (0.5, 6, 0.44558, 0.32376, 6, 0.93281),
        (0.3, 5, 0.27541, 0.20947, 6, 0.88459),
        (0.1, 2, 0.09350, 0.07941, 4, 0.78374),
        (0.05, 2, 0.04698, 0.04226, 3, 0.72138),
        (0.01, 1, 0.00974, 0.00904, 2, 0.57618),
        (0.005, 0, 0.00500, 0.00475, 2, 0.51163),
        (0.001, 0, 0.00100, 0.00100, 0, 0.35453),
    ],
    "ResNet18-10": [
        (0.5, 14, 0.38862, 0.26593, 13, 0.95863),
        (0.3, 10, 0.24896, 0.18974, 13, 0.92824),
        (0.1, 4, 0.09161, 0.07939, 8, 0.86204),
        (0.05, 3, 0.04709, 0.04420, 3, 0.81837),
        (0.01, 1, 0.00990, 0.00966, 2, 0.69838),
        (0.005, 0, 0.00500, 0.00492, 1, 0.62810),
        (0.001, 0, 0.00100, 0.00100, 0, 0.40355),
    ],
    "ResNet50-100": [
        (0.5, 33, 0.42561, 0.33380, 26, 0.98341),
        (0.3, 17, 0.28038, 0.22428, 21, 0.97080),
        (0.1, 2, 0.09985, 0.08824, 12, 0.94183),
        (0.01, 0, 0.01000, 0.00988, 2, 0.85851),
    ],
    "ResNet20-10": [
        (0.5, 11, 0.42059, 0.33145, 11, 0.95742),
        (0.1, 2, 0.09674, 0.09221, 3, 0.85164),
        (0.01, 0, 0.01000, 0.01000, 0, 0.61209),
    ],
    "VGG19-100": [
        (0.5, 6, 0.45573, 0.35365, 9, 0.94267),
        (0.1, 2, 0.09652, 0.08462, 4, 0.81092),
        (0.01, 0, 0.01000, 0.00950, 1, 0.61373),
    ],
}
ROWS = [(net, *row) for net, rows in TABLE.items() for row in rows]

VGG16_LAYERS = [
    (erk, [0.7485, 0.0644, 0.0476, 0.0315, 0.0234, 0.0156, 0.0156, 0.0116, *[0.0077] * 5, 1.0]),
    (er, [0.7135, 0.0639, 0.0479, 0.0319, 0.0240, 0.0160, 0.0160, 0.0120, *[0.0080] * 5, 0.2085]),
    (
        balanced_as_released,
        [1.0, 0.2851, 0.1426, 0.0713, 0.0356, 0.0178, 0.0178, 0.0089, *[0.0045] * 5, 1.0],
    ),
    (
        pyramid,
        [0.5762, 0.3320, 0.1913, 0.1102, 0.0635, 0.0366, 0.0211, 0.0121]
        + [0.0070, 0.0040, 0.0023, 0.0013, 0.0008, 0.0004],
    ),
]


def counts(scheme, net, density):
    shapes = {f"l{i}": shape for i, shape in enumerate(NETS[net][0])}
    return scheme(shapes, budget(density, NETS[net][1])), {n: math.prod(s) for n, s in shapes.items()}


@pytest.mark.parametrize("net", NETS)
def test_the_shapes_are_those_of_our_models(net):
    shapes, size, (model, options) = NETS[net]
    assert sum(map(math.prod, shapes)) == size
    with torch.device("meta"):
        built = load("models", model)((3, 32, 32), int(net.rpartition("-")[2]), **options)
    assert [tuple(w.shape) for w in maskable(built).values()] == shapes


@pytest.mark.parametrize(("net", "density", "dense", "erk_capped", "balanced_capped", "capped", "r"), ROWS)
def test_realised_densities_are_the_tabled_ones(net, density, dense, erk_capped, balanced_capped, capped, r):
    size = NETS[net][1]
    near = 0.6e-5 + len(NETS[net][0]) / (2 * size)  # the table rounds, and we round each layer to a weight
    for scheme in (erk, er, balanced, pyramid):
        assert sum(counts(scheme, net, density)[0].values()) == budget(density, size)
    full, sizes = counts(erk, net, density)
    assert sum(full[n] == sizes[n] for n in sizes) == dense
    assert sum(counts(erk_as_released, net, density)[0].values()) / size == pytest.approx(erk_capped, abs=near)
    cut = counts(balanced_as_released, net, density)[0]
    assert sum(cut.values()) / size == pytest.approx(balanced_capped, abs=near)
    assert sum(cut[n] == sizes[n] for n in sizes) == capped
    assert rate(list(sizes.values()), budget(density, size)) == pytest.approx(r, abs=1e-5)


@pytest.mark.parametrize(("scheme", "printed"), VGG16_LAYERS)
def test_layers_of_a_vgg16_at_one_percent_are_the_tabled_ones(scheme, printed):
    kept, sizes = counts(scheme, "VGG16-10", 0.01)
    for (name, size), density in zip(sizes.items(), printed, strict=True):
        assert abs(kept[name] / size - density) <= 0.5e-4 + 1 / size, name


@pytest.mark.parametrize(("density", "real"), [(0.05, 0.0487), (0.1, 0.0950), (0.2, 0.184), (0.5, 0.428)])
def test_uncapped_probabilities_of_sparse_momentum_lose_as_much_on_a_wide_resnet(density, real):
    shapes, before = [(16, 3, 3, 3)], 16
    for width in (32, 64, 128):
        shapes += [(width, before, 3, 3), (width, width, 3, 3), (width, before, 1, 1), *[(width, width, 3, 3)] * 6]
        before = width
    named = {f"l{i}": shape for i, shape in enumerate([*shapes, (10, 128)])}
    size = sum(map(math.prod, named.values()))
    assert sum(erk_as_released(named, budget(density, size)).values()) / size == pytest.approx(real, abs=6e-4)


def test_uniform_plus_as_released_misses_both_ways():
    # 12 + 60 + 40 = 112 weights; below 0.2: (total - 12 - 8) / 112 of the middle, 8 of the last; above: on top
    shapes = {"a": (4, 3), "b": (6, 10), "c": (4, 10)}
    assert uniform_plus_as_released(shapes, 21) == {"a": 12, "b": 1, "c": 8}  # 60 / 112 rounds to 1
    assert uniform_plus_as_released(shapes, 56) == {"a": 12, "b": 30, "c": 20}  # 62 for 56
    assert uniform_plus_as_released(shapes, 5) == {"a": 12, "b": 0, "c": 8}
