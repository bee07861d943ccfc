"""Layers as operators with their own strides, paddings, dilations and groups, against matrices built by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.linalg.operators import layer_values
from sparse_ortho.measure.layers import layers
from sparse_ortho.prune import make_masks


def by_hand(
    weight: np.ndarray, n: int, *, stride: int, padding: int, circular: bool, dilation: int, groups: int
) -> Any:
    """The matrix of a 2-D convolution, entry by entry: sum over taps of y[o, p] += w[o, i, a] x[i, s p + d a - pad]."""
    outputs, inputs, taps, _ = weight.shape
    side = (n + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    matrix = np.zeros((outputs, side, side, inputs * groups, n, n))
    for o, i, row, col, a, b in itertools.product(
        range(outputs), range(inputs), *[range(side)] * 2, *[range(taps)] * 2
    ):
        y, x = (stride * at + dilation * tap - padding for at, tap in ((row, a), (col, b)))
        if circular:
            y, x = y % n, x % n
        if 0 <= y < n and 0 <= x < n:
            matrix[o, row, col, o // (outputs // groups) * inputs + i, y, x] += weight[o, i, a, b]
    return matrix.reshape(outputs * side * side, -1)


CASES = [
    # outputs, inputs, taps, groups, n, stride, padding, dilation, padding mode
    (3, 2, 3, 1, 6, 1, 1, 1, "zeros"),
    (3, 2, 3, 1, 6, 2, 1, 1, "zeros"),
    (2, 3, 3, 1, 5, 2, 0, 1, "zeros"),
    (3, 2, 3, 1, 6, 2, 1, 1, "circular"),
    (2, 3, 3, 1, 6, 3, 1, 1, "circular"),
    (4, 4, 3, 2, 4, 2, 1, 1, "circular"),
    (4, 4, 3, 2, 4, 2, 1, 1, "zeros"),
    (4, 4, 3, 4, 4, 1, 1, 1, "zeros"),
    (2, 2, 3, 1, 6, 1, 2, 2, "circular"),
    (3, 2, 3, 1, 7, 2, 1, 1, "circular"),  # the stride does not divide the side
    (2, 3, 2, 1, 6, 2, 0, 1, "zeros"),
    (3, 2, 5, 1, 4, 2, 2, 1, "circular"),  # a kernel larger than the image
]


@pytest.mark.parametrize(("outputs", "inputs", "taps", "groups", "n", "stride", "padding", "dilation", "mode"), CASES)
def test_a_convolution_has_the_values_of_its_matrix(
    outputs: int, inputs: int, taps: int, groups: int, n: int, stride: int, padding: int, dilation: int, mode: Any
) -> None:
    torch.manual_seed(0)
    told = {"padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    module = nn.Conv2d(inputs, outputs, taps, stride, **told).double()
    weight = module.weight.detach()
    if taps > n:  # torch refuses to wrap more than once; the Fourier form does not mind
        matrix = by_hand(weight.numpy(), n, stride=stride, padding=padding, circular=True, dilation=1, groups=groups)
    else:
        matrix = by_hand(
            weight.numpy(),
            n,
            stride=stride,
            padding=padding,
            circular=mode == "circular",
            dilation=dilation,
            groups=groups,
        )
        x = torch.randn(1, inputs, n, n, dtype=torch.float64)
        seen = module(x) - module.bias.detach().view(1, -1, 1, 1)
        np.testing.assert_allclose(matrix @ x.flatten().numpy(), seen.detach().flatten().numpy(), atol=1e-12)
    expected = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(layer_values(module, weight, n).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 3])
def test_one_and_three_axes_with_strides(axes: int) -> None:
    torch.manual_seed(1)
    kind = {1: nn.Conv1d, 3: nn.Conv3d}[axes]
    module = kind(2, 3, 3, 2, padding=1, padding_mode="circular", bias=False).double()
    pixels = torch.eye(2 * 4**axes, dtype=torch.float64).view(-1, 2, *[4] * axes)
    expected = torch.linalg.svdvals(module(pixels).detach().flatten(1))
    torch.testing.assert_close(layer_values(module, module.weight.detach(), 4), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("outputs", "ones", "zeros"), [(3, 12, 0), (6, 24, 0), (8, 24, 8)])
def test_eoi_with_stride_two_is_an_isometry_of_the_pixels_that_it_sees(outputs: int, ones: int, zeros: int) -> None:
    """Of n^2 = 16 pixels a quarter is seen: 4 times an orthogonal matrix of outputs x 6; the rest has no image."""
    module = nn.Conv2d(6, outputs, 3, 2, padding=1, padding_mode="circular", bias=False)
    initialize_(module, make_masks(module, 0.3, seed=0), "eoi", seed=0, gain=1.5)
    values = layer_values(module, module.weight.detach().double(), 4).numpy()
    np.testing.assert_allclose(values, [1.5] * ones + [0.0] * zeros, atol=1e-6)


def test_zero_padding_takes_nothing_from_a_delta_kernel() -> None:
    module = nn.Conv2d(4, 4, 5, padding=2)
    initialize_(module, None, "orthogonal", seed=0, kernel="delta")
    np.testing.assert_allclose(layer_values(module, module.weight.detach().double(), 5).numpy(), 1, atol=1e-6)
    initialize_(module, None, "orthogonal", seed=0, kernel="block")  # this one is orthogonal on a torus only
    assert float(layer_values(module, module.weight.detach().double(), 5).min()) < 0.9


def test_the_measurement_says_which_operator() -> None:
    model = nn.Sequential(nn.Conv2d(2, 8, 3, 2, padding=1), nn.Flatten(), nn.Linear(8, 4))
    initialize_(model, None, "orthogonal", seed=0, kernel="delta")

    def nothing(count: int) -> torch.Tensor:
        raise AssertionError("no images are read")

    assert layers(model, nothing)["residual_max"] < 1e-6
    found = layers(model, nothing, operator="layer")  # 8 outputs on a quarter of the pixels: 3 of 4 inputs see nothing
    kept = 2 * 16 / min(8 * 16, 2 * 64)
    assert found["smallest"] < 1e-6 and found["largest"] == pytest.approx(1, abs=1e-6)
    residual = math.sqrt(kept * (1 / math.sqrt(kept) - 1) ** 2 + 1 - kept)
    assert found["residual_max"] == pytest.approx(residual, abs=1e-6)


def test_a_matrix_that_would_not_fit_is_refused_with_the_largest_image() -> None:
    module = nn.Conv2d(64, 2, 3, padding=1)
    with pytest.raises(UserError, match=r"image: makes the matrix of a layer too large \(found 9\); allowed: 1 to 8"):
        layer_values(module, module.weight.detach(), 9)
