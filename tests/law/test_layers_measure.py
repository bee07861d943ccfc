"""Singular values of layers as operators, against the dense matrix of each operator; residuals; dead units."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.measure.layers import dead, layers, operator_values, residual
from sparse_ortho.prune import make_masks


def nothing(count: int) -> torch.Tensor:
    raise AssertionError("the layers are measured without images")


def dense_operator(weight: torch.Tensor, groups: int, n: int) -> np.ndarray:
    """The circular convolution of an n x n image as a matrix, column by column."""
    inputs = weight.shape[1] * groups
    columns = torch.eye(inputs * n * n, dtype=weight.dtype).view(-1, inputs, n, n)
    taps = weight.shape[-1]
    padded = nn.functional.pad(columns, [taps // 2] * 4, mode="circular")
    return nn.functional.conv2d(padded, weight, groups=groups).flatten(1).T.numpy()


@pytest.mark.parametrize(
    ("shape", "groups", "n"),
    [((3, 2, 3, 3), 1, 4), ((2, 5, 3, 3), 1, 5), ((4, 2, 3, 3), 2, 4), ((3, 1, 5, 5), 3, 6), ((4, 3, 1, 1), 1, 3)],
)
def test_a_convolution_has_the_singular_values_of_its_dense_operator(
    shape: tuple[int, ...], groups: int, n: int
) -> None:
    weight = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = operator_values(weight, groups, n)
    expected = np.linalg.svd(dense_operator(weight, groups, n), compute_uv=False)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_a_kernel_larger_than_the_image_wraps_around() -> None:
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = operator_values(weight, 1, 1)  # one pixel sees itself through every tap
    torch.testing.assert_close(found, torch.linalg.svdvals(weight.sum((2, 3))))


def test_the_residual_is_zero_for_multiples_of_isometries_and_one_for_nothing() -> None:
    assert residual(torch.full((5,), 3.0)).item() == 0
    assert residual(torch.zeros(5)).item() == 1
    assert residual(torch.tensor([1.0, 0.0])).item() == pytest.approx(math.sqrt(((math.sqrt(2) - 1) ** 2 + 1) / 2))


def network() -> nn.Module:
    conv = [nn.Conv2d(8, 6, 3, bias=False), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=3), nn.Flatten(), nn.Linear(6, 4)]
    return nn.Sequential(*conv)


@pytest.mark.parametrize("gain", [1.0, 1.7])
def test_eoi_is_isometric_layer_by_layer_and_kaiming_under_the_same_masks_is_not(gain: float) -> None:
    model = network()
    masks = initialize_(model, make_masks(model, 0.3, layers="uniform", seed=0), "eoi", seed=0, gain=gain)
    found = layers(model, nothing)
    assert found["residual_max"] < 1e-6
    assert found["smallest"] == pytest.approx(gain, rel=1e-6) == pytest.approx(found["largest"], rel=1e-6)
    initialize_(model, masks, "kaiming", seed=0)
    assert layers(model, nothing)["residual"] > 0.2


def test_dead_units_are_rows_and_columns_of_zeros_in_each_group() -> None:
    assert dead(torch.tensor([[1.0, 0, 2], [0, 0, 0]]), 1) == (1, 3, 1, 2)
    kernel = torch.zeros(4, 2, 3, 3)  # two groups of two outputs and two inputs
    kernel[0, 0, 1, 1] = kernel[3, 1, 0, 2] = 1
    assert dead(kernel, 2) == (2, 4, 2, 4)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 2], [0, 0, 0]]))
    found = layers(model, nothing)
    assert (found["dead_inputs"], found["dead_outputs"]) == (pytest.approx(1 / 5), pytest.approx(1 / 4))


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(UserError, match=r"measure\.image"):
        layers(network(), nothing, image=0)
