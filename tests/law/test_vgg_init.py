"""The VGG initialisation: Kaiming in convolutions, a fixed spread in linear layers."""

import math

import pytest
from scipy import stats
from torch import nn

from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.masks import maskable
from sparse_ortho.prune import make_masks


@pytest.mark.parametrize("density", [1.0, 0.3])
def test_weights_are_gaussian_of_the_stated_spread_whatever_the_mask(density):
    model = nn.Sequential(nn.Conv2d(16, 64, 3), nn.Conv2d(64, 128, 5, groups=4), nn.Flatten(), nn.Linear(300, 100))
    masks = initialize_(model, make_masks(model, density, layers="uniform", seed=0), "vgg", seed=0)
    assert masks is not None
    spreads = [math.sqrt(2 / 144), math.sqrt(2 / 400), 0.01]
    for (name, weight), spread in zip(maskable(model).items(), spreads, strict=True):
        values = weight.detach().double()[masks[name]].numpy()
        assert abs(values.std() - spread) < 4 * spread / math.sqrt(2 * len(values))
        assert stats.kstest(values / spread, "norm").pvalue > 1e-3
