"""Loss surfaces along masked, filter-normalised directions, and the line between two networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.measure.connectivity import barrier, between, connectivity
from sparse_ortho.measure.directions import direction, filter_normalised
from sparse_ortho.measure.landscape import landscape, shifted
from sparse_ortho.measure.subject import Batch, Subject
from sparse_ortho.streams import Streams


def images() -> list[Batch]:
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(24, 6, generator=random), torch.randint(0, 3, (24,), generator=random)
    return list(zip(x.split(10), y.split(10), strict=True))


def linear(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 3))


MASK = torch.tensor([[1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]], dtype=torch.bool)


def masked(seed: int = 1) -> nn.Module:
    model = linear(seed)
    with torch.no_grad():
        maskable(model)["0.weight"].mul_(MASK)
    return model


def subject(other: nn.Module | None = None) -> Subject:
    pair = None if other is None else lambda: (other, {"0.weight": MASK})
    return Subject(lambda part, count, size: images(), cross_entropy, Streams(0), {"0.weight": MASK}, pair)


def loss_of(weight: np.ndarray, bias: np.ndarray) -> float:
    """Cross-entropy of a linear network in float64 numpy."""
    x, y = (torch.cat(parts).numpy() for parts in zip(*images(), strict=True))
    logits = x.astype(np.float64) @ weight.T + bias
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]))


def test_a_direction_has_the_norm_of_every_filter_and_is_zero_off_the_mask() -> None:
    model = masked()
    weight = maskable(model)["0.weight"].detach()
    found = direction(model, {"0.weight": MASK}, Streams(0), "d")["0.weight"]
    torch.testing.assert_close(found.norm(dim=1), weight.norm(dim=1))
    assert int(found[~MASK].count_nonzero()) == 0 and int(found[1].count_nonzero()) == 0


def test_a_filter_of_a_convolution_is_all_that_makes_one_output() -> None:
    weight = torch.arange(1.0, 17.0).view(2, 2, 2, 2)
    drawn = torch.ones(2, 2, 2, 2)
    found = filter_normalised(drawn, weight, torch.ones(2, 2, 2, 2, dtype=torch.bool))
    for i in range(2):  # eight equal numbers with the norm of the filter
        torch.testing.assert_close(found[i], torch.full((2, 2, 2), float(weight[i].norm()) / math.sqrt(8)))


def test_the_surface_is_the_loss_at_the_shifted_weights() -> None:
    model = masked()
    weight, bias = maskable(model)["0.weight"].detach().double().numpy(), model[0].bias.detach().double().numpy()  # type: ignore
    axes = [direction(model, {"0.weight": MASK}, Streams(0), f"landscape/{i}")["0.weight"] for i in range(2)]
    first, second = (axis.double().numpy() for axis in axes)
    found = landscape(model, subject(), dimensions=2, points=5, reach=0.8)
    steps = [found[f"alpha/{i}"] for i in range(5)]
    np.testing.assert_allclose(steps, [-0.8, -0.4, 0.0, 0.4, 0.8])
    for i, a in enumerate(steps):
        for j, b in enumerate(steps):
            exact = loss_of(weight + a * first + b * second, bias)
            assert found[f"loss/{i}/{j}"] == pytest.approx(exact, rel=1e-5)


def test_the_middle_is_the_network_itself() -> None:
    model = masked()
    x, y = (torch.cat(parts) for parts in zip(*images(), strict=True))
    exact = cross_entropy(model(x), y).item()
    hits = 100 * float((model(x).argmax(1) == y).float().mean())
    line, plane = landscape(model, subject(), points=5), landscape(model, subject(), dimensions=2, points=3)
    for found, centre in ((line, "2"), (plane, "1/1")):
        assert found["loss"] == found[f"loss/{centre}"] == pytest.approx(exact, rel=1e-6)
        assert found["accuracy"] == found[f"accuracy/{centre}"] == pytest.approx(hits)


def test_the_other_way_along_a_direction_turns_the_surface_round() -> None:
    """Steps are symmetric about 0, so where loss(w) = loss(-w) for weights of 0 the line is its own mirror image."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Flatten(0), nn.Unflatten(0, (-1, 1)))
    with torch.no_grad():
        maskable(model)["0.weight"].fill_(1.0)
    x = torch.tensor([[2.0], [3.0]])
    even = Subject(lambda *_: [(x, torch.zeros(2).long())], lambda z, y: (z - x).square().mean(), Streams(0))
    found = landscape(model, even, points=7)  # (1 + a d - 1)^2 x^2
    values = [found[f"loss/{i}"] for i in range(7)]
    np.testing.assert_allclose(values, values[::-1], rtol=1e-5)
    np.testing.assert_allclose(values, [6.5 * found[f"alpha/{i}"] ** 2 for i in range(7)], rtol=1e-5, atol=1e-7)


def test_the_network_is_where_it_was() -> None:
    model = masked()
    before = maskable(model)["0.weight"].detach().clone()
    landscape(model, subject(), points=3)
    shifted(model, [{"0.weight": torch.ones(3, 6)}], [2.0])
    assert torch.equal(maskable(model)["0.weight"], before)


@pytest.mark.parametrize("wrong", [{"points": 4}, {"points": 1}, {"reach": 0.0}, {"images": 0}])
def test_a_surface_without_a_middle_or_images_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"measure.{next(iter(wrong))}"):
        landscape(masked(), subject(), **wrong)  # type: ignore[arg-type]


def test_the_line_has_both_networks_as_its_ends_and_their_mean_in_the_middle() -> None:
    left, right = masked(1), masked(2)
    pairs = [(maskable(net)["0.weight"].detach().double().numpy(), net[0].bias.detach().double().numpy())  # type: ignore
             for net in (left, right)]  # fmt: skip
    found = connectivity(left, subject(right), points=3)
    for i, t in enumerate((0.0, 0.5, 1.0)):
        weight, bias = ((1 - t) * a + t * b for a, b in zip(*pairs, strict=True))
        assert found[f"t/{i}"] == t
        assert found[f"train_loss/{i}"] == pytest.approx(loss_of(weight, bias), rel=1e-5)
    rise = found["train_loss/1"] - (found["train_loss/0"] + found["train_loss/2"]) / 2
    assert found["barrier_train_loss"] == pytest.approx(max(0.0, rise), abs=1e-6)


def test_barriers_of_hand_made_curves() -> None:
    assert barrier([1.0, 5.0, 3.0], [0.0, 0.5, 1.0]) == 3.0
    assert barrier([1.0, 0.0, 3.0], [0.0, 0.5, 1.0]) == 0.0


def test_union_and_overlap_are_of_both_masks() -> None:
    other = torch.zeros_like(MASK)
    other[0, :2] = True  # one of them in MASK, which keeps seven
    view = subject()
    pair = Subject(view.batches, view.loss, view.streams, view.masks, lambda: (masked(2), {"0.weight": other}))
    found = connectivity(masked(1), pair, points=3)
    assert found["union"] == 8 / 18 and found["overlap"] == 1 / 8


def test_a_counter_is_not_a_number_to_be_mixed() -> None:
    left, right = {"n": torch.tensor(3), "w": torch.tensor([0.0])}, {"n": torch.tensor(9), "w": torch.tensor([4.0])}
    assert between(left, right, 0.25) == {"n": torch.tensor(3), "w": torch.tensor([1.0])}


def test_statistics_are_estimated_where_the_weights_are() -> None:
    """Two networks whose first layers differ by a sign: their mean is zero, and so is what normalisation sees."""
    torch.manual_seed(0)
    left = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    right = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    right.load_state_dict(left.state_dict())
    with torch.no_grad():
        for p in (right[0].weight, right[0].bias):
            p.neg_()
    norm = left[1]
    assert isinstance(norm, nn.BatchNorm1d)
    kept = norm.running_mean.clone() if norm.running_mean is not None else None
    view = Subject(lambda *_: images(), cross_entropy, Streams(0), {}, lambda: (right, {}))
    anew = connectivity(left, view, points=3)
    stored = connectivity(left, view, points=3, statistics="stored")
    x, y = (torch.cat(parts) for parts in zip(*images(), strict=True))
    flat = left[2](norm.bias.expand(len(x), 4))  # the middle: inputs of normalisation are 0 whatever the image
    assert anew["train_loss/1"] == pytest.approx(cross_entropy(flat, y).item(), rel=1e-4)
    assert stored["train_loss/0"] != anew["train_loss/0"]
    assert norm.momentum == 0.1 and torch.equal(norm.running_mean, kept)  # type: ignore[arg-type]
