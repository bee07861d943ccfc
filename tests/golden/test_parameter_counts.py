"""Parameter counts of the released models, counted on the meta device."""

from __future__ import annotations

import pytest
import torch

from sparse_ortho import registry

COUNTS = [
    ("mlp", {}, (1, 28, 28), 130_010, 7),
    ("mlp", {"depth": 7, "width": 100}, (1, 28, 28), 130_010, 7),
    ("mlp", {"depth": 1000, "width": 128}, (1, 28, 28), 16_580_746, 1000),
]


@pytest.mark.parametrize(("name", "options", "shape", "count", "weights"), COUNTS)
def test_parameter_count(name, options, shape, count, weights):
    with torch.device("meta"):
        model = registry.load("models", name)(shape, 10, **options)
    assert sum(p.numel() for p in model.parameters()) == count
    assert sum(p.ndim > 1 for p in model.parameters()) == weights
