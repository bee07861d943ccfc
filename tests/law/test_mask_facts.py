"""Facts of masks: paths against products of 0/1 matrices, effective density and FLOPs against counts by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from sparse_ortho.masks import maskable
from sparse_ortho.measure.effective import effective
from sparse_ortho.measure.flops import flops
from sparse_ortho.measure.paths import paths
from sparse_ortho.measure.scaled import Scaled, log10_of
from sparse_ortho.measure.subject import Subject
from sparse_ortho.models.densenet import densenet
from sparse_ortho.models.efficientnet import efficientnet
from sparse_ortho.models.lenet import lenet5
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.streams import Streams
from sparse_ortho.training.losses import cross_entropy

Kept = Mapping[str, torch.Tensor]


def subject(shape: tuple[int, ...], masks: Kept) -> Subject:
    return Subject(
        lambda part, count, size: [(torch.zeros(count, *shape), torch.zeros(count).long())],
        cross_entropy,
        Streams(0),
        masks,
    )


def random_masks(model: nn.Module, density: float, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(w.shape, generator=generator) < density for name, w in maskable(model).items()}


def number_of_paths(model: nn.Module, shape: tuple[int, ...], masks: Kept) -> float:
    return 10 ** paths(model, subject(shape, masks))["paths"] - 1


@pytest.mark.parametrize("seed", range(5))
def test_paths_of_a_chain_are_the_sum_of_the_product_of_its_masks(seed: int) -> None:
    model = nn.Sequential(nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 5))
    masks = random_masks(model, 0.3, seed)
    first, second, third = (mask.numpy().astype(np.int64) for mask in masks.values())
    expected = int((third @ second @ first).sum())
    assert number_of_paths(model, (9,), masks) == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2)])
def test_every_edge_of_a_pool_counts_one_and_padding_none(pool: nn.Module) -> None:
    # on 4 x 4 pixels a 3 x 3 kernel sees 4 of them from a corner, 6 from an edge and 9 from inside: 16 + 48 + 36
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 3))
    masks = {name: torch.ones_like(weight).bool() for name, weight in maskable(model).items()}
    assert number_of_paths(model, (1, 4, 4), masks) == pytest.approx(3 * 100, rel=1e-12)
    masks["0.weight"][0, 0, 0, 0] = False  # the tap up and to the left: of 9 of the 16 places
    masks["4.weight"][1] = False
    assert number_of_paths(model, (1, 4, 4), masks) == pytest.approx(2 * 91, rel=1e-12)


def test_an_adaptive_pool_with_windows_that_overlap_counts_each_of_their_edges() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.AdaptiveAvgPool1d(3))  # windows 0-1, 1-3, 3-4: 2 + 3 + 2 edges
    masks = {"0.weight": torch.eye(5).bool()}
    assert number_of_paths(model, (1, 5), masks) == pytest.approx(7, rel=1e-12)


class Residual(nn.Module):
    """x + W_l x, `depth` times."""

    def __init__(self, width: int, depth: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + layer(x).relu()
        return x


@pytest.mark.parametrize(("depth", "more_than_a_float"), [(3, False), (900, True)])
def test_shortcuts_count_as_paths_of_their_own(depth: int, more_than_a_float: bool) -> None:
    model = Residual(4, depth)
    masks = random_masks(model, 0.5, 1)
    total = np.eye(4, dtype=object).astype(object) * 1  # Python's integers have no largest
    for mask in masks.values():
        total = (np.eye(4, dtype=int) + mask.numpy().astype(int)).astype(object).dot(total)
    expected = int(total.sum())
    assert (expected > 10**308) is more_than_a_float
    shift = max(0, expected.bit_length() - 60)
    exact = math.log10((expected >> shift) + (0 if shift else 1)) + shift * math.log10(2)
    assert paths(model, subject((4,), masks))["paths"] == pytest.approx(exact, rel=1e-12)


def test_a_thousand_layers_neither_overflow_nor_vanish() -> None:
    model = nn.Sequential(*(nn.Linear(100, 100, bias=False) for _ in range(1000)))
    masks = {name: torch.ones_like(weight).bool() for name, weight in maskable(model).items()}
    assert paths(model, subject((100,), masks))["paths"] == pytest.approx(1001 * 2, rel=1e-12)
    masks["500.weight"][:] = False
    found = paths(model, subject((100,), masks))
    assert found["paths"] == 0 and found["paths_dense"] == pytest.approx(2002, rel=1e-12)


def test_sums_of_very_different_numbers_are_their_sums() -> None:
    large, small = Scaled.of(torch.tensor([3.0]).double(), 2000), Scaled.of(torch.tensor([1.0]).double(), 1998)
    assert log10_of(large + small) == pytest.approx(math.log10(3.25) + 2000 * math.log10(2), rel=1e-14)
    assert log10_of(torch.cat([large, small])) == pytest.approx(math.log10(3.25) + 2000 * math.log10(2), rel=1e-14)
    assert log10_of(large * small) == pytest.approx(math.log10(3) + 3998 * math.log10(2), rel=1e-14)
    assert log10_of(Scaled.of(torch.zeros(1).double()) + large) == log10_of(large)


def test_real_networks_have_paths_with_and_without_masks() -> None:
    networks = [
        (cifar_resnet((3, 32, 32), 10, depth=110), (3, 32, 32)),
        (lenet5((1, 28, 28), 10), (1, 28, 28)),
        (densenet((3, 32, 32), 10, stem="cifar"), (3, 32, 32)),
        (efficientnet((3, 32, 32), 10, stem="cifar"), (3, 32, 32)),
    ]
    for model, shape in networks:
        found = paths(model, subject(shape, random_masks(model, 0.5)))
        assert 5 < found["paths"] < found["paths_dense"] < math.inf
    model = lenet5((1, 28, 28), 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    paths(model, subject((1, 28, 28), random_masks(model, 0.5)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_effective_density_counts_what_is_on_a_path() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    first = [[1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 0, 1]]  # unit 1 sees nothing
    second = [[1, 1, 0, 0], [0, 0, 0, 1]]  # nobody reads unit 2
    masks = {"0.weight": torch.tensor(first).bool(), "2.weight": torch.tensor(second).bool()}
    found = effective(model, subject((3,), masks))
    # on a path: both weights of unit 0, that of unit 3, and the two that read them
    assert found["density"] == 8 / 20 and found["effective"] == 5 / 20 and found["wasted"] == pytest.approx(3 / 8)
    assert found["effective/0.weight"] == 3 / 12 and found["effective/2.weight"] == 2 / 8
    assert found["dead/0.weight"] == 2 / 4 and found["dead/2.weight"] == 0 and found["dead"] == pytest.approx(2 / 6)
    assert found["empty"] == 0 and found["severed"] == 0 and found["connected"] == 1


def test_a_network_falls_apart_before_a_layer_is_empty() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    masks = {"0.weight": torch.tensor([[1, 1], [0, 0]]).bool(), "2.weight": torch.tensor([[0, 1], [0, 1]]).bool()}
    found = effective(model, subject((2,), masks))
    assert found["empty"] == 0 and found["severed"] == 2 and found["connected"] == 0
    assert found["effective"] == 0 and found["wasted"] == 1 and found["dead"] == 1
    masks["0.weight"][:] = False
    assert effective(model, subject((2,), masks))["empty"] == 1


def test_a_shortcut_keeps_a_network_connected_around_an_empty_layer() -> None:
    model = nn.Sequential(Residual(3, 1), nn.Linear(3, 2))
    masks = {"0.layers.0.weight": torch.zeros(3, 3).bool(), "1.weight": torch.ones(2, 3).bool()}
    found = effective(model, subject((3,), masks))
    assert found["empty"] == found["severed"] == 1 and found["connected"] == 1 and found["effective"] == 6 / 15


def test_multiply_adds_of_lenet5_are_those_counted_by_hand() -> None:
    """Caffe's LeNet-5: 20 kernels of 5 x 5 on 24 x 24 places, 50 of 20 x 5 x 5 on 8 x 8, 800 to 500 to 10 units."""
    model = lenet5((1, 28, 28), 10)
    masks = {name: torch.zeros_like(weight).bool() for name, weight in maskable(model).items()}
    for mask, kept in zip(masks.values(), (25, 100, 1000, 77), strict=True):
        mask.view(-1)[:kept] = True
    found = flops(model, subject((1, 28, 28), masks))
    expected = [25 * 576, 100 * 64, 1000, 77]
    assert [found[f"flops/{name}"] for name in masks] == expected and found["flops"] == sum(expected) == 21_877
    dense = [500 * 576, 25_000 * 64, 400_000, 5_000]
    assert [found[f"flops_dense/{name}"] for name in masks] == dense and found["flops_dense"] == 2_293_000
    assert found["flops_share"] == pytest.approx(21_877 / 2_293_000, rel=1e-12)


def test_a_grouped_convolution_and_a_layer_called_twice_count_what_is_computed() -> None:
    twice = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2)  # 6 -> 3 -> 2; 4 x 2 x 9 weights
    found = flops(nn.Sequential(twice, nn.ReLU(), twice), subject((4, 6, 6), {}))
    assert found["flops"] == found["flops_dense"] == 72 * (9 + 4) and found["flops_share"] == 1
