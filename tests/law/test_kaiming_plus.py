"""Kaiming normal around another mean, by its closed form."""

import math

import pytest
from scipy import stats
from torch import nn

from sparse_ortho.inits.initialize import initialize_


@pytest.mark.parametrize(("options", "mean", "gain"), [({}, 1.0, math.sqrt(2)), ({"mean": -0.5, "gain": 1.0}, -0.5, 1)])
def test_weights_are_normal_around_the_mean(options, mean, gain):
    model = nn.Conv2d(50, 90, 3)
    initialize_(model, None, "kaiming_plus", seed=0, **options)
    values = model.weight.detach().double().flatten().numpy()
    assert stats.kstest((values - mean) / (gain / math.sqrt(450)), "norm").pvalue > 1e-4


def test_it_is_kaiming_moved():
    plain, moved = nn.Linear(30, 20), nn.Linear(30, 20)
    initialize_(plain, None, "kaiming", seed=3)
    initialize_(moved, None, "kaiming_plus", seed=3)
    assert (moved.weight.detach() - plain.weight.detach() - 1).abs().max() < 1e-6
