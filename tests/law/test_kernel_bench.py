"""The estimate of an ideal kernel, on layers whose densities are written out, and the kernel that is measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sparse_ortho.bench import kernels
from sparse_ortho.bench.kernels import Use, csr, dense, ideal, ideal_channels
from sparse_ortho.bench.setting import Setting
from sparse_ortho.errors import UserError
from sparse_ortho.streams import Streams


def linear() -> Use:
    """Weights at density 6 / 12 whose third input is not read; inputs at density 5 / 8, the last one 0."""
    layer = nn.Linear(4, 3)
    layer.weight.data = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 1]])
    return Use(layer, torch.tensor([[1.0, 2, 3, 0], [1, 0, 3, 0]]))


def convolution() -> Use:
    """Two of four input channels are read; of the eight maps of two images three are 0."""
    layer = nn.Conv2d(4, 2, 3, padding=1)
    weight = torch.zeros(2, 4, 3, 3)
    weight[0, 0, 1, 1] = weight[0, 2, 0, 0] = weight[1, 2] = 1
    layer.weight.data = weight
    x = torch.zeros(2, 4, 4, 4)
    x[0, 0], x[0, 1, 0, 0], x[0, 3], x[1, 1], x[1, 2, :2] = 1, 1, 1, 1, 1
    return Use(layer, x)


def test_the_estimate_is_the_time_by_the_densities_of_inputs_and_weights() -> None:
    assert ideal(linear()) == pytest.approx(5 / 8 * 6 / 12)
    assert ideal(convolution()) == pytest.approx((16 + 1 + 16 + 16 + 8) / 128 * 11 / 72)


def test_whole_channels_are_saved_where_all_of_their_weights_or_values_are_zero() -> None:
    assert ideal_channels(linear()) == pytest.approx(3 / 4 * 5 / 8)
    assert ideal_channels(convolution()) == pytest.approx(2 / 4 * 5 / 8)


def test_the_outputs_of_a_group_read_their_own_channels() -> None:
    layer = nn.Conv2d(4, 4, 1, groups=2, bias=False)
    layer.weight.data = torch.tensor([[1.0, 0], [1, 0], [0, 0], [0, 0]])[..., None, None]
    assert ideal_channels(Use(layer, torch.ones(1, 4, 2, 2))) == pytest.approx(1 / 4)
    with pytest.raises(UserError, match="grouped"):
        csr(Use(layer, torch.ones(1, 4, 2, 2)))


@pytest.mark.parametrize("use", [linear(), convolution()])
def test_the_sparse_kernel_computes_what_the_layer_does(use: Use) -> None:
    with torch.inference_mode():
        expected, found = dense(use)(), csr(use)()
    expected = expected.flatten(2).transpose(0, 1).flatten(1) if expected.ndim == 4 else expected.T  # outputs first
    torch.testing.assert_close(found, expected)


class FakeNetwork:
    """A network of two linear layers, in which the first one's outputs are half 0."""

    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
        for layer, weight in ((self.model[0], [[1.0, 0], [0, -1]]), (self.model[2], [[1.0, 1], [1, 0]])):
            layer.weight.data = torch.tensor(weight)  # type: ignore[union-attr]
        self.masks = None

    def take(self, count: int) -> Any:
        return torch.ones(count, 2), torch.zeros(count)


def test_layers_add_up_and_a_masked_network_costs_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "network_of", lambda setting: FakeNetwork())
    monkeypatch.setattr(kernels, "seconds_of", lambda work, repeats: (work(), 2.0)[1])
    found: Any = {
        how: kernels.kernels(Setting(Streams(0)), how=how, batch=3)
        for how in ("dense", "estimate", "estimate_channels", "csr")
    }
    assert found["dense"]["seconds"] == found["csr"]["seconds"] == 4
    assert found["estimate"]["seconds"] == pytest.approx(2 * 2 / 4 + 2 * 3 / 4 * 1 / 2)
    assert found["estimate_channels"]["seconds"] == pytest.approx(2 + 2 * 1 / 2)
    assert found["dense"]["input_density"] == 9 / 12
    with pytest.raises(UserError, match="bench.batch"):
        kernels.kernels(Setting(Streams(0)), batch=0)
