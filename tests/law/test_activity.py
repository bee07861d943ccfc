"""What activations and filters do: hand-made networks whose zeros can be counted by eye."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sparse_ortho.errors import UserError
from sparse_ortho.measure.activations import activations
from sparse_ortho.measure.features import features, specialisation
from sparse_ortho.measure.filters import filters
from sparse_ortho.measure.subject import Batch, Subject
from sparse_ortho.measure.watching import watch, watched
from sparse_ortho.streams import Streams


def subject(batches: list[Batch]) -> Subject:
    return Subject(lambda *_: batches, cross_entropy, Streams(0))


class Twice(nn.Module):
    """One activation that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.ReLU()
        self.fc = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.activation(self.activation(x) - 1))


X = torch.tensor([[1.0, -1.0], [3.0, -2.0], [0.005, -3.0], [2.0, 5.0]])


def test_zeros_and_small_values_are_counted_use_by_use() -> None:
    found = activations(Twice(), subject([(X[:3], torch.zeros(3)), (X[3:], torch.zeros(1))]))
    # relu(x):     1 0 | 3 0 | .005 0 | 2 5      relu(relu(x) - 1):   0 0 | 2 0 | 0 0 | 1 4
    assert found["zero/activation"] == 3 / 8 and found["small/activation"] == 4 / 8
    assert found["zero/activation#2"] == found["small/activation#2"] == 5 / 8
    assert found["zero"] == 8 / 16 and found["quiet"] == 0
    assert activations(Twice(), subject([(X, torch.zeros(4))]), threshold=1.0)["small/activation"] == 5 / 8


def test_a_unit_is_quiet_if_no_image_wakes_it() -> None:
    found = activations(Twice(), subject([(X[:3], torch.zeros(3))]))
    assert found["quiet/activation"] == 1 / 2 and found["quiet"] == 2 / 4


def test_activations_are_found_by_place_where_they_are_of_no_known_kind() -> None:
    class Soft(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    model = nn.ModuleDict({"activations": nn.ModuleList([Soft(), nn.Identity()]), "other": nn.Tanh()})
    assert list(watched(model)) == ["activations.0", "activations.1", "other"]


def test_watching_leaves_no_hook_behind_even_if_it_fails() -> None:
    model = Twice()
    with pytest.raises(RuntimeError):
        watch(model, [(torch.zeros(1, 3), torch.zeros(1))], lambda *_: None)
    assert not model.activation._forward_hooks


def test_a_network_without_activations_is_refused() -> None:
    with pytest.raises(UserError, match="no activations"):
        activations(nn.Sequential(nn.Linear(2, 2)), subject([]))


def test_filters_are_counted_by_their_zeros() -> None:
    model = nn.Sequential(nn.Conv2d(5, 3, 2, bias=False), nn.Flatten(), nn.Linear(3, 2, bias=False))
    rates = [18 / 20, 19 / 20, 20 / 20]  # zeros in twenty weights of a filter
    with torch.no_grad():
        for i, rate in enumerate(rates):
            model[0].weight[i].view(-1)[:] = torch.arange(20) >= round(20 * rate)
        model[2].weight[:] = torch.tensor([[1.0, 0.0, 1e-6], [2.0, 2.0, 2.0]])
    found = filters(model, subject([]), bins=20)
    assert [found[f"filter/{i}"] for i in range(5)] == pytest.approx([*rates, 2 / 3, 0.0])
    assert found["zero_90"] == 2 / 5 and found["zero_95"] == 1 / 5 and found["zero_100"] == 1 / 5
    assert found["zero_90/0.weight"] == pytest.approx(2 / 3) and found["zero_90/2.weight"] == 0
    assert found["rate/2.weight"] == pytest.approx(1 / 3)
    assert found["size/0.weight"] == 3 and found["size/2.weight"] == 2


def test_the_histogram_of_rates_is_that_of_numpy() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 300, bias=False))
    with torch.no_grad():
        model[0].weight.mul_(torch.rand(300, 20) < torch.rand(300, 1))
    found = filters(model, subject([]), bins=20)
    rates = (model[0].weight == 0).double().mean(1).numpy()
    edges = [found[f"from/{k}"] for k in range(20)] + [1.0]
    exact = [np.mean((rates > a + 1e-12) & (rates <= b + 1e-12)) for a, b in pairwise(edges)]
    exact[0] += np.mean(rates == 0)
    np.testing.assert_allclose([found[f"share/{k}"] for k in range(20)], exact)
    assert not any(name.startswith("filter/") for name in filters(model, subject([]), maps=False))


def test_a_channel_of_one_class_has_specialisation_one_and_a_uniform_one_a_part_of_c() -> None:
    table = torch.tensor([[5.0, 0, 0, 0], [2.0, 2, 2, 2], [1.0, 2, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(specialisation(table, 0.0), torch.tensor([1.0, 0.25, 0.5], dtype=torch.float64))


def test_the_weakest_channels_are_left_out_to_a_twentieth_of_the_layer() -> None:
    """Sums 1, 3, 46, 50 of a hundred: 1 and 1 + 3 are under five per cent, 1 + 3 + 46 is not."""
    table = torch.tensor([[46.0, 0], [1.0, 0], [25.0, 25], [0.0, 3]], dtype=torch.float64)
    assert specialisation(table, 0.05).tolist() == [1.0, 0.5]
    assert specialisation(table, 0.01).tolist() == [1.0, 1.0, 0.5, 1.0]  # 1 of 100 is not under one per cent
    assert specialisation(torch.zeros(3, 2), 0.05).tolist() == []


def test_channels_are_added_up_by_label_over_images_and_space() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    x = torch.tensor([[1.0, 1, 1, 1], [-2.0, -2, 0, 0], [1.0, 0, 0, 0]]).view(3, 1, 2, 2)
    found = features(model, subject([(x[:2], torch.tensor([0, 1])), (x[2:], torch.tensor([1]))]))
    # channel 0: 4 of class 0 and 1 of class 1;  channel 1: 4 of class 1
    assert found["specialisation/1/0"] == pytest.approx(4 / 5) and found["specialisation/1/1"] == 1.0
    assert found["specialisation"] == found["mean/1"] == pytest.approx(0.9)
    assert found["density/1"] == pytest.approx(7 / 24) and found["classes"] == 2


@pytest.mark.parametrize(
    ("measure", "wrong"),
    [
        (activations, {"threshold": -1.0}),
        (activations, {"images": 0}),
        (filters, {"bins": 1}),
        (features, {"tail": 1.0}),
    ],
)
def test_options_out_of_range_are_refused(measure, wrong) -> None:
    with pytest.raises(UserError, match=f"measure.{next(iter(wrong))}"):
        measure(Twice(), subject([]), **wrong)
