"""ERK densities of the networks of Nowak et al. (ICML 2024), to four decimals, from the formula as published."""

import math

import pytest

from sparse_ortho.budgets import budget
from sparse_ortho.densities.erk import erk

C1, C2, C3 = (16, 16, 3, 3), (32, 32, 3, 3), (64, 64, 3, 3)


def resnet(depth):
    """CIFAR ResNet of width 16 with 1 x 1 projection shortcuts."""
    twice = (depth - 2) // 3  # convolutions in a stage
    shapes = [(16, 3, 3, 3), *[C1] * twice]
    for narrow, wide in ((16, 32), (32, 64)):
        shapes += [(wide, narrow, 3, 3), *[(wide, wide, 3, 3)] * (twice - 1), (wide, narrow, 1, 1)]
    return [*shapes, (10, 64)]


VGG_C = [
    *[(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3)],
    *[(256, 128, 3, 3), (256, 256, 3, 3), (256, 256, 1, 1)],
    *[(512, 256, 3, 3), (512, 512, 3, 3), (512, 512, 1, 1)],
    *[(512, 512, 3, 3), (512, 512, 3, 3), (512, 512, 1, 1)],
    *[(512, 2048), (512, 512), (10, 512)],
]
MLP = [(100, 784), *[(100, 100)] * 5, (10, 100)]

R32_SHAPES = [(16, 3, 3, 3), C1, (32, 16, 3, 3), C2, (32, 16, 1, 1), (64, 32, 3, 3), C3, (64, 32, 1, 1), (10, 64)]
VGG_SHAPES = [
    *[(64, 3, 3, 3), (64, 64, 3, 3), (128, 128, 3, 3), (256, 256, 3, 3), (256, 256, 1, 1)],
    *[(512, 512, 3, 3), (512, 512, 1, 1), (512, 2048), (512, 512), (10, 512)],
]
MLP_SHAPES = [(100, 784), (100, 100), (10, 100)]

GOLDEN = [
    (resnet(32), 0.05, R32_SHAPES, [0.5135, 0.1463, 0.1040, 0.0674, 0.8665, 0.0491, 0.0323, 0.4246, 1.0]),
    (resnet(32), 0.10, R32_SHAPES, [1.0, 0.2995, 0.2128, 0.1379, 1.0, 0.1005, 0.0660, 0.8691, 1.0]),
    (resnet(56), 0.05, [C1, C2, C3], [0.1543, 0.0711, 0.0340]),
    (resnet(56), 0.10, [C1, C2, C3], [0.3128, 0.1441, 0.0689]),
    (resnet(110), 0.05, [C1, C2, C3], [0.1595, 0.0735, 0.0352]),
    (resnet(110), 0.10, [C1, C2, C3], [0.3212, 0.1479, 0.0708]),
    (VGG_C, 0.05, VGG_SHAPES, [1.0, 0.1763, 0.0862, 0.0426, 0.3804, 0.0212, 0.1898, 0.1184, 0.1895, 1.0]),
    (VGG_C, 0.10, VGG_SHAPES, [1.0, 0.3548, 0.1734, 0.0857, 0.7655, 0.0426, 0.3820, 0.2383, 0.3812, 1.0]),
    (MLP, 0.05, MLP_SHAPES, [0.0366, 0.0649, 0.3569]),
    (MLP, 0.10, MLP_SHAPES, [0.0732, 0.1298, 0.7138]),
]


@pytest.mark.parametrize(("depth", "size"), [(20, 270_896), (32, 464_432), (56, 851_504), (110, 1_722_416)])
def test_the_shape_lists_are_those_networks(depth, size):
    assert sum(map(math.prod, resnet(depth))) == size


@pytest.mark.parametrize(("net", "density", "shapes", "printed"), GOLDEN)
def test_erk_densities_are_the_published_ones(net, density, shapes, printed):
    total = budget(density, sum(map(math.prod, net)))
    counts = erk({f"l{i}": shape for i, shape in enumerate(net)}, total)
    assert sum(counts.values()) == total
    for shape, golden in zip(shapes, printed, strict=True):
        got = [counts[f"l{i}"] / math.prod(shape) for i, other in enumerate(net) if other == shape]
        assert got, shape
        assert all(abs(d - golden) <= 0.5e-4 + 1 / math.prod(shape) for d in got), (shape, golden, got)
