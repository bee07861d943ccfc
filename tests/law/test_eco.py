"""Explicitly constructed orthogonal convolutions: orthogonal on the torus of their taps, real, in SAO whole kernels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_ortho as so
from sparse_ortho.inits.initialize import initialize_
from sparse_ortho.linalg.eco import eco_kernel, from_depth
from sparse_ortho.linalg.graphs import graph_of
from sparse_ortho.linalg.haar import haar
from sparse_ortho.linalg.operators import layer_values
from sparse_ortho.prune import make_masks


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (3, 5), (5, 3)])
@pytest.mark.parametrize(("taps", "axes"), [(3, 1), (3, 2), (5, 2), (1, 2), (3, 3)])
def test_every_frequency_has_one_of_half_as_many_matrices(rows: int, cols: int, taps: int, axes: int) -> None:
    drawn = []

    def draw() -> np.ndarray:
        drawn.append(haar(rows, cols, np.random.default_rng(len(drawn))))
        return drawn[-1]

    kernel = eco_kernel(draw, taps, axes)
    assert kernel.shape == (rows, cols, *[taps] * axes) and kernel.dtype == np.float64
    assert len(drawn) == (taps**axes + 1) // 2
    at = np.fft.fftn(kernel, axes=tuple(range(2, 2 + axes)))
    for frequency in itertools.product(range(taps), repeat=axes):
        here, there = at[(..., *frequency)], at[(..., *(-f % taps for f in frequency))]
        assert np.abs(here.imag).max() < 1e-12 and np.abs(here - there).max() < 1e-12
        assert min(np.abs(here.real - matrix).max() for matrix in drawn) < 1e-12


@pytest.mark.parametrize(("n", "dilation"), [(3, 1), (6, 2), (9, 3)])
@pytest.mark.parametrize(("inputs", "outputs"), [(4, 4), (3, 6), (6, 3)])
def test_with_the_dilation_of_the_image_it_is_an_isometry(n: int, dilation: int, inputs: int, outputs: int) -> None:
    module = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, padding_mode="circular", bias=False)
    initialize_(module, None, "orthogonal", seed=0, kernel="eco", gain=1.25)
    np.testing.assert_allclose(layer_values(module, module.weight.detach().double(), n).numpy(), 1.25, atol=1e-6)
    assert (module.weight.detach().abs().amax((0, 1)) > 1e-3).all()  # all taps are used


def test_with_another_dilation_it_is_none() -> None:
    module = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", bias=False)
    initialize_(module, None, "orthogonal", seed=0, kernel="eco")
    values = layer_values(module, module.weight.detach().double(), 6)
    assert float(values.min()) < 0.9 and float(values.max()) > 1 + 1e-3


def test_squares_side_by_side_are_a_matrix_of_their_pixels() -> None:
    module = nn.Conv2d(2, 5, 3, 3, bias=False)
    initialize_(module, None, "orthogonal", seed=0, kernel="eco")
    np.testing.assert_allclose(layer_values(module, module.weight.detach().double(), 6).numpy(), 1, atol=1e-6)


@pytest.mark.parametrize(("stride", "taps"), [(2, 3), (3, 1), (2, 1)])
def test_from_depth_is_a_convolution_of_the_squares(stride: int, taps: int) -> None:
    """F.pixel_unshuffle has the same order of channels: (channel, row in the square, column in it)."""
    generator = torch.Generator().manual_seed(0)
    deep = torch.randn(4, 3 * stride**2, taps, taps, dtype=torch.float64, generator=generator)
    x = torch.randn(2, 3, 6 * stride, 6 * stride, dtype=torch.float64, generator=generator)
    expected = F.conv2d(F.pixel_unshuffle(x, stride), deep)
    flat = torch.from_numpy(from_depth(deep.numpy(), stride))
    torch.testing.assert_close(F.conv2d(x, flat, stride=stride), expected)


@pytest.mark.parametrize("construction", ["published", "expander"])
def test_sao_by_eco_has_whole_kernels_of_one_graph_and_is_orthogonal(construction: str) -> None:
    module = nn.Conv2d(32, 32, 3, padding=2, dilation=2, padding_mode="circular", bias=False)
    masks = make_masks(module, 0.25, seed=0)
    made = initialize_(module, masks, "sao", seed=0, kernel="eco", construction=construction)
    assert made is not None and made.nonzeros == 32 * 8 * 9
    kernels = made["weight"].flatten(2)
    assert torch.equal(kernels.any(2), kernels.all(2))
    assert (module.weight.detach() != 0).flatten(2).sum(2)[kernels.any(2)].min() >= 8  # of 9 taps: all but chance
    np.testing.assert_allclose(layer_values(module, module.weight.detach().double(), 6).numpy(), 1, atol=1e-6)
    assert (graph_of(kernels.any(2).numpy()).components == 1) == (construction == "expander")


def test_delta_eco_takes_delta_kernels_where_eco_is_not_orthogonal() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, 2, padding=1, padding_mode="circular"),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
    )
    for name in ("orthogonal", "sao"):
        masks = make_masks(model, 0.5, seed=0) if name == "sao" else None
        initialize_(model, masks, name, seed=0, kernel="delta_eco")
        off = [bool(model.get_parameter(f"{i}.weight")[..., 0, 0].detach().any()) for i in range(3)]
        assert off == [False, False, True]
        with pytest.raises(so.UserError, match=r"^0\.weight: .*delta_eco"):
            initialize_(model, masks, name, seed=0, kernel="eco")
