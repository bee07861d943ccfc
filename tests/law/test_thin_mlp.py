"""Thin dense networks: the number of weights is the nearest that one factor for all widths can give."""

from __future__ import annotations

import numpy as np
import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.models.lenet import lenet300_100
from sparse_ortho.models.thin_mlp import thin_mlp, weights, widths

MNIST = (1, 28, 28)


@pytest.mark.parametrize(("inputs", "hidden"), [(784, (300, 100)), (64, (30, 20, 7)), (5, (9,))])
@pytest.mark.parametrize("density", [1.0, 0.5, 0.1, 0.05, 0.01])
def test_no_factor_comes_nearer(inputs: int, hidden: tuple[int, ...], density: float) -> None:
    found = widths(inputs, hidden, 10, density)
    target = density * weights(inputs, hidden, 10)
    for factor in np.linspace(0, 1, 4001):
        other = [max(1, round(factor * h)) for h in hidden]
        assert abs(weights(inputs, found, 10) - target) <= abs(weights(inputs, other, 10) - target)


def test_lenet_at_a_tenth_of_its_weights() -> None:
    model = thin_mlp(MNIST, 10, density=0.1)
    assert [tuple(weight.shape) for weight in maskable(model).values()] == [(33, 784), (11, 33), (10, 11)]
    assert sum(weight.numel() for weight in maskable(model).values()) == 26_345  # of 26,620
    whole = [weight.shape for weight in lenet300_100(MNIST, 10).parameters()]
    assert [weight.shape for weight in thin_mlp(MNIST, 10, density=1.0).parameters()] == whole


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"density": 0.0}, "model.density: out of range"),
        ({"hidden": ()}, "model.hidden: needs a layer"),
        ({"hidden": (3, 0)}, "model.hidden: must be at least 1"),
    ],
)
def test_mistakes_are_one_sentence(told: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        thin_mlp(MNIST, 10, **told)  # pyright: ignore[reportArgumentType]
