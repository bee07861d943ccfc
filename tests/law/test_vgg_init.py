"""The VGG initialisation: Kaiming in convolutions, a fixed spread in linear layers."""

import math

import pytest
from scipy import stats
from torch import nn

from sparse_ortho.errors import UserError
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


def test_modes_of_convolutions_keep_their_spread_and_the_signs_are_fair():
    model = nn.Sequential(nn.Conv2d(16, 256, 3), nn.Flatten(), nn.Linear(300, 100))
    initialize_(model, None, "vgg", seed=0, mode=math.sqrt(0.75))
    conv, linear = (w.detach().double().numpy().ravel() for w in maskable(model).values())
    conv, linear, m = conv / math.sqrt(2 / 144), linear / 0.01, math.sqrt(0.75)

    def mixture(x):
        return (stats.norm.cdf(x, -m, 0.5) + stats.norm.cdf(x, m, 0.5)) / 2

    assert stats.kstest(conv, mixture).pvalue > 1e-3 > stats.kstest(conv, "norm").pvalue
    assert stats.kstest(linear, "norm").pvalue > 1e-3


def test_a_mode_beyond_the_spread_is_refused():
    with pytest.raises(UserError, match=r"inits\.vgg: mode: out of range .*1\.5.*\[0, 1\]"):
        initialize_(nn.Sequential(nn.Linear(4, 4)), None, "vgg", seed=0, mode=1.5)
