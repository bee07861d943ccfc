"""Parameter counts of the released models, counted on the meta device."""

from __future__ import annotations

import pytest
import torch

from sparse_ortho import registry
from sparse_ortho.masks import maskable

COUNTS = [
    ("mlp", {}, (1, 28, 28), 130_010, 7),
    ("mlp", {"depth": 7, "width": 100}, (1, 28, 28), 130_010, 7),
    ("mlp", {"depth": 1000, "width": 128}, (1, 28, 28), 16_580_746, 1000),
    ("resnet", {}, (3, 32, 32), 272_474, 22),
    ("resnet", {"depth": 20}, (3, 32, 32), 272_474, 22),
    ("resnet", {"depth": 32}, (3, 32, 32), 466_906, 34),
    ("resnet", {"depth": 56}, (3, 32, 32), 855_770, 58),
    ("resnet", {"depth": 110}, (3, 32, 32), 1_730_714, 112),
]
MASKABLE = [(20, 270_896), (32, 464_432), (56, 851_504), (110, 1_722_416)]


@pytest.mark.parametrize(("name", "options", "shape", "count", "weights"), COUNTS)
def test_parameter_count(name, options, shape, count, weights):
    with torch.device("meta"):
        model = registry.load("models", name)(shape, 10, **options)
    assert sum(p.numel() for p in model.parameters()) == count
    assert sum(p.ndim > 1 for p in model.parameters()) == weights


@pytest.mark.parametrize(("depth", "count"), MASKABLE)
def test_maskable_weights_of_the_residual_net(depth, count):
    with torch.device("meta"):
        model = registry.load("models", "resnet")((3, 32, 32), 10, depth=depth)
    assert sum(weight.numel() for weight in maskable(model).values()) == count
