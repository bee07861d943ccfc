"""What each rule that is no sequence of criteria does to a few weights, written out by hand or in numpy."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import nn

from sparse_ortho.masks import Masks
from sparse_ortho.registry import load
from sparse_ortho.rewiring import deepr, dsr, mest, n_m, srigl, tied, top_kast
from sparse_ortho.rewiring.ac_dc import is_compressed
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.sparse_training import SparseTraining
from sparse_ortho.streams import Streams, stream
from sparse_ortho.structures.n_m import n_m as n_m_units


def layer(weight: list[float], mask: str, name: str = "a", gradient: list[float] | None = None) -> Layer:
    """One row of weights; the mask is written like "1101"."""
    active = torch.tensor([[character == "1" for character in mask]])
    return Layer(
        name,
        torch.tensor([weight]) * active,
        active,
        gradient=None if gradient is None else torch.tensor([gradient]),
        rng=lambda: stream(0, "rewiring", name),
    )


def text(mask: torch.Tensor) -> str:
    return "".join("1" if active else "0" for active in mask.reshape(-1).tolist())


def network(weight: list[list[float]], mask: str | None = None) -> tuple[nn.Linear, dict[str, torch.Tensor]]:
    """One layer without bias, in float64, so that a step can be compared with numpy's."""
    values = torch.tensor(weight, dtype=torch.float64)
    model = nn.Linear(values.shape[1], values.shape[0], bias=False).double()
    with torch.no_grad():
        model.weight.copy_(values)
    active = torch.ones_like(values, dtype=torch.bool)
    if mask is not None:
        active = torch.tensor([c == "1" for c in mask]).view(values.shape)
    return model, {"weight": active}


def sgd(model: nn.Module, **given: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), **{"lr": 0.5, **given})


def feel(model: nn.Linear, slopes: Any) -> None:
    """A loss with this gradient, whatever the weights are."""
    model.zero_grad()
    (model.weight * torch.as_tensor(slopes, dtype=model.weight.dtype)).sum().backward()


# --- DSR


def test_dsr_prunes_below_the_threshold_and_shares_by_what_is_left() -> None:
    """a loses 2 of 4, b 1 of 5; 2 and 4 are left, so of the three that come a gets one and b two."""
    layers = {
        "a": layer([4, 0.5, -3, -0.2, 0, 0, 0, 0], "11110000"),
        "b": layer([5, 2, -2, -0.9, 1, 0, 0, 0], "11111000", "b"),
    }
    change, _ = dsr.reparameterized(layers, 1.0, 3)
    kept = {"a": {0, 2}, "b": {0, 1, 2, 4}}
    free = {"a": {4, 5, 6, 7}, "b": {5, 6, 7}}  # not where something has just been pruned
    for name, number in (("a", 1), ("b", 2)):
        mask = set(change.masks[name][0].nonzero().view(-1).tolist())
        grown = set(change.grown[name][0].nonzero().view(-1).tolist())
        assert mask == kept[name] | grown and len(grown) == number and grown <= free[name]


def test_dsr_leaves_a_layer_its_largest_weight() -> None:
    gone = dsr.pruned({"a": layer([0.1, -0.3, 0.2, 0], "1110"), "b": layer([2, 0, 0, 0], "1000")}, 1.0)
    assert [text(gone[name]) for name in gone] == ["1010", "0000"]


def test_dsr_lets_pruned_weights_return_where_there_is_no_other_room() -> None:
    change, _ = dsr.reparameterized({"a": layer([1, 2, 0.1, 0.2], "1111")}, 0.5, 2)
    assert text(change.masks["a"]) == "1111" and text(change.grown["a"]) == "0011"


@pytest.mark.parametrize(
    ("lost", "most", "expected"),
    [(89, 500, 2.0), (90, 500, 1.0), (100, 500, 1.0), (110, 500, 1.0), (111, 500, 0.5), (40, 40, 1.0), (0, 500, 2.0)],
)
def test_the_threshold_of_dsr_doubles_below_nine_tenths_of_the_target_and_halves_above_eleven(
    lost: int, most: int, expected: float
) -> None:
    assert dsr.adapted(1.0, lost, 100, most) == expected


def test_the_period_of_dsr_doubles() -> None:
    model, masks = network([[1.0, 2, 3, 4, 5, 6, 7, 8]], "11110000")
    sparse = SparseTraining(model, sgd(model, lr=0), masks, "dsr", every=2, stop=40, slower=("8it", "0.5"), steps=40)
    seen = []
    for step in range(1, 41):
        before = sparse.report()["updates"]
        feel(model, torch.zeros(1, 8))
        sparse.step()
        seen += [step] if sparse.report()["updates"] > before else []
    assert seen == [2, 4, 6, 8, 12, 16, 24, 32]


@given(st.integers(0, 2**32), st.floats(1e-3, 10))
@settings(max_examples=150, deadline=None)
def test_dsr_keeps_the_number_of_weights_and_no_layer_empty(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    layers = {}
    for name in "abc":
        mask = rng.random(12) < rng.random()
        layers[name] = layer(rng.normal(size=12).tolist(), "".join("1" if m else "0" for m in mask), name)
    change, _ = dsr.reparameterized(layers, threshold, 5)
    assert sum(int(m.sum()) for m in change.masks.values()) == sum(x.active for x in layers.values())
    for name, x in layers.items():
        left = x.mask & (x.weight.abs() >= threshold)
        assert bool(change.masks[name].any()) == bool(x.mask.any()) or not x.mask.any()
        assert not (left & ~change.masks[name]).any() and not (change.grown[name] & left).any()


# --- DEEP R


def test_a_connection_of_deep_r_whose_sign_turns_becomes_dormant() -> None:
    """Steps of 0.5 x (1, 1, -1, -1): only 0.4 and -0.3 cross zero; two dormant places of six are drawn."""
    model, masks = network([[2.0, 0.4, -0.3, -2, 0, 0, 0, 0]], "11110000")
    sparse = SparseTraining(model, sgd(model), masks, "deepr", seed=3, temperature=0.0, l1=0.0)
    feel(model, [[1.0, 1, -1, -1, 9, 9, 9, 9]])
    sparse.step()
    drawn: set[int] = set()
    for place in Streams(3)("rewiring", "weight/1").integers(8, size=12).tolist():
        drawn |= {place} if place not in (0, 3) and len(drawn) < 2 else set()
    assert set(sparse.masks["weight"][0].nonzero().view(-1).tolist()) == {0, 3} | drawn
    assert model.weight.detach().tolist() == [[1.5, 0, 0, -1.5, 0, 0, 0, 0]]
    assert sparse.report()["layers"]["weight"] == {"active": 4, "density": 0.5, "dropped": 2, "grown": 2}


def test_a_step_of_deep_r_is_downhill_with_an_l1_norm_and_noise() -> None:
    eta, alpha, temperature = 0.25, 0.3, 0.02
    start = np.array([[5.0, -6, 7, -8, 0, 0, 0, 0]])
    model, masks = network(start.tolist(), "11110000")
    told: dict[str, Any] = {"temperature": temperature, "l1": alpha, "cooling": "linear", "steps": 4}
    sparse = SparseTraining(model, sgd(model, lr=eta), masks, "deepr", seed=3, **told)
    slopes, expected = np.array([[1.0, 2, 3, 4, 5, 6, 7, 8]]), start.copy()
    for step in range(3):
        nu = Streams(3)("rewiring", f"weight/noise/{step}").standard_normal(4)
        warmth = temperature * (1 - step / 4)
        push = eta * slopes[0, :4] + eta * alpha * np.sign(start[0, :4]) - np.sqrt(2 * eta * warmth) * nu
        expected[0, :4] -= push
        feel(model, slopes)
        sparse.step()
        np.testing.assert_allclose(model.weight.detach().numpy(), expected, atol=1e-12)


def test_as_released_the_noise_of_deep_r_goes_through_the_optimizer() -> None:
    start = np.array([[5.0, -6, 0, 0]])
    model, masks = network(start.tolist(), "1100")
    rule = load("rules", "deepr@as_released")(temperature=2.0, l1=0.3)
    sparse = SparseTraining(model, sgd(model, momentum=0.9), masks, rule, seed=3)
    buffer, expected = np.zeros(2), start[0, :2].copy()
    for step in range(3):
        nu = Streams(3)("rewiring", f"weight/noise/{step}").standard_normal(2)
        buffer = 0.9 * buffer + np.array([1.0, 2.0]) + 0.3 * np.array([1, -1]) + np.sqrt(2 * 0.001 * 2.0) * nu
        expected -= 0.5 * buffer
        feel(model, [[1.0, 2, 3, 4]])
        sparse.step()
    np.testing.assert_allclose(model.weight.detach().numpy()[0, :2], expected, atol=1e-12)


@pytest.mark.parametrize("mask", ["1110111", "0010100", "0000000"])
def test_deep_r_draws_every_set_of_dormant_places_equally_often(mask: str) -> None:
    """By trial and error, and, in the first mask, from a list. A chance of 1e-4 that a right one fails."""
    active = torch.tensor([[c == "1" for c in mask]])
    free = [i for i, c in enumerate(mask) if c == "0"]
    count = min(2, len(free))
    pairs = Counter[frozenset[int]]()
    for number in range(2000):
        places = deepr.drawn(active, len(free), count, stream(number, "rewiring")).tolist()
        assert len(set(places)) == count and set(places) <= set(free)
        pairs[frozenset(places)] += 1
    sets = [frozenset(pair) for pair in itertools.combinations(free, count)]
    assert set(pairs) == set(sets) and chisquare([pairs[pair] for pair in sets]).pvalue > 1e-4 or len(sets) == 1


def test_the_signs_of_deep_r_never_change_and_no_active_weight_is_against_its_own() -> None:
    model, masks = network(np.random.default_rng(0).normal(size=(6, 10)).tolist())
    masks["weight"] = torch.from_numpy(np.random.default_rng(1).random((6, 10)) < 0.4)
    sparse = SparseTraining(model, sgd(model, momentum=0.9), masks, "deepr", temperature=0.1, l1=0.01)
    live, moved = sparse._live, 0
    assert isinstance(live, deepr.DeepRewiring)
    signs = live.signs["weight"].clone()
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    for step in range(30):
        feel(model, np.random.default_rng(step).normal(size=(6, 10)))
        sparse.step()
        moved += sparse.report()["layers"]["weight"]["dropped"]
        assert torch.equal(live.signs["weight"], signs)
        assert (model.weight.detach() * signs >= 0).all()
        buffer = sparse.optimizer.state[model.weight]["momentum_buffer"]
        assert not buffer[~sparse.masks["weight"]].any(), "what is dormant has no momentum"
    assert moved > 20


# --- tied weights


def trained_bank(bank: np.ndarray, index: np.ndarray, signs: np.ndarray, slopes: Any, rescale: bool) -> np.ndarray:
    """SGD with Nesterov momentum and weight decay on the bank itself, by numpy."""
    ties, buffer = np.bincount(index), np.zeros(len(bank))
    for number in range(5):
        weights = signs * bank[index]
        gradient = np.bincount(index, weights=signs * slopes(weights, number))
        gradient = (gradient / ties if rescale else gradient) + 0.01 * bank
        buffer = 0.9 * buffer + gradient
        bank = bank - 0.05 * (gradient + 0.9 * buffer)
    return signs * bank[index]


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("rescale", [False, True])
def test_tied_weights_are_those_of_a_bank_that_is_trained(rescale: bool, signs: bool) -> None:
    start = np.random.default_rng(0).normal(size=(4, 6))
    mask = np.random.default_rng(1).random((4, 6)) < 0.3
    model, masks = network(start.tolist())
    masks["weight"] = torch.from_numpy(mask)
    optimizer = sgd(model, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01)
    sparse = SparseTraining(model, optimizer, masks, "tied", rescale=rescale, signs=signs)
    assert isinstance(sparse._live, tied.Tying)
    bank = sparse._live.banks["weight"]
    index = bank.index.numpy()
    xi = np.ones(24) if bank.signs is None else bank.signs.numpy()
    x = np.random.default_rng(2).normal(size=(5, 8, 6))

    def slopes(weights: np.ndarray, number: int) -> np.ndarray:  # of |x W^T|^2 / 2
        return (weights.reshape(4, 6) @ x[number].T @ x[number]).reshape(-1)

    expected = trained_bank(start[mask], *_own_places(index, xi, mask), slopes, rescale)
    weights = model.weight.detach().numpy().reshape(-1)  # shares memory with the layer
    for number in range(5):
        model.zero_grad()
        (model(torch.from_numpy(x[number])) ** 2).sum().div(2).backward()
        sparse.step()
        for k in range(int(mask.sum())):
            assert len(set((weights * xi)[index == k])) == 1, "all weights of a value are equal"
    np.testing.assert_allclose(weights, expected, atol=1e-12)
    assert sparse.report()["free_parameters"] == mask.sum() and sparse.report()["density"] == 1.0


def _own_places(index: np.ndarray, xi: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The k-th active weight is value k, with sign +1; no value has fewer or more ties than equal shares allow."""
    assert index[mask.reshape(-1)].tolist() == list(range(int(mask.sum()))) and (xi[mask.reshape(-1)] == 1).all()
    ties = np.bincount(index)
    assert ties.max() - ties.min() <= 1
    return index, xi


def test_the_start_of_tied_weights_is_what_the_mask_keeps() -> None:
    model, masks = network([[3.0, -1, 8, 8, 8, 8]], "110000")
    SparseTraining(model, sgd(model), masks, "tied")
    weights = model.weight.detach()[0]
    assert weights[:2].tolist() == [3, -1] and sorted(weights[2:].tolist()) == [-1, -1, 3, 3]


# --- SRigL


def rows(*lines: str) -> torch.Tensor:
    return torch.tensor([[c == "1" for c in line] for line in lines])


def test_an_update_of_srigl_by_hand() -> None:
    """Fan-in 2 in four units, 3 of 8 leave: 0.3, 0.1 and 0.2. The steepest free ones are 9, 8 and 7, in units 0 and 1.

    Unit 3 has nothing salient and is ablated; 8 weights in three units are 3, 3 and 2. Unit 2 keeps 2 and 4; unit 1
    keeps 5 and gets its steepest 7 and 2; unit 0 keeps 3 and gets 9 and 8.
    """
    weight = torch.tensor([[3, 0.3, 0, 0], [0, 5, -0.1, 0], [2, 0, 0, 4], [0, 0.2, 0.4, 0]])
    mask = rows("1100", "0110", "1001", "0110")
    slope = torch.tensor([[0, 0.5, 9, 8], [7, 0, 1, 2], [0, 1, 1, 0], [3, 0, 0, 3.0]])
    x = Layer("a", weight, mask, gradient=slope)
    found, grown = srigl.rewired(x, 3, gamma=0.6)
    assert torch.equal(found, rows("1011", "1101", "1001", "0000"))
    assert torch.equal(grown, rows("0011", "1001", "0000", "0000"))
    spared, _ = srigl.rewired(x, 3, gamma=0.5)  # one of its two would be enough: 0.4 is not among the three smallest
    assert torch.equal(spared, rows("1010", "1100", "1001", "1010"))


def test_what_srigl_drops_may_grow_again_if_it_is_steepest() -> None:
    x = Layer("a", torch.tensor([[3, 0.1, 0]]), rows("110"), gradient=torch.tensor([[0, 5.0, 1]]))
    found, grown = srigl.rewired(x, 1, gamma=0.0)
    assert torch.equal(found, rows("110")) and torch.equal(grown, rows("010"))


@pytest.mark.parametrize(("total", "expected"), [(8, [3, 0, 3, 2]), (3, [1, 0, 1, 1]), (2, [1, 0, 1, 0]), (0, [0] * 4)])
def test_fan_ins_are_equal_but_for_a_remainder(total: int, expected: list[int]) -> None:
    assert srigl.quotas(torch.tensor([True, False, True, True]), total).tolist() == expected


def test_srigl_keeps_as_many_units_as_its_weights_need() -> None:
    """Nine weights need three units of three inputs: of the four, those with most salient weights."""
    salient = rows("110", "100", "000", "111")
    assert srigl.spared(salient, torch.ones(4, dtype=torch.bool), 9, 1.0).tolist() == [True, True, False, True]


def test_srigl_begins_with_a_constant_fan_in() -> None:
    model, masks = network([[4.0, 3, 2, 1], [0, 0, 0, 0], [5, 0, 0, 0]], "111100001000")
    sparse = SparseTraining(model, sgd(model), masks, "srigl", every=5, stop=9)
    assert sparse.masks["weight"].sum(1).tolist() == [2, 2, 1]
    assert text(sparse.masks["weight"][[0, 2]]) == "11001000", "the largest stay"
    assert model.weight.detach()[0].tolist() == [4, 3, 0, 0]


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_srigl_keeps_the_number_of_weights_and_equal_fan_ins(seed: int, fraction: float, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    mask, weight, slope = torch.zeros(5, 7, dtype=torch.bool), rng.normal(size=(5, 7)), rng.normal(size=(5, 7))
    total, dead = int(rng.integers(1, 29)), 0
    mask = srigl.constant_fan_in(mask, torch.from_numpy(weight), torch.tensor([False] + [True] * 4), total)
    for _ in range(4):
        x = Layer("a", torch.from_numpy(weight) * mask, mask, gradient=torch.from_numpy(slope) * float(rng.integers(2)))
        mask, grown = srigl.rewired(x, int(fraction * total), gamma)
        counts = mask.sum(1)
        assert int(counts.sum()) == total and not (grown & ~mask).any()
        alive = counts[counts > 0]
        assert alive.max() - alive.min() <= 1
        assert int((counts == 0).sum()) >= dead and not mask[0].any()
        dead = int((counts == 0).sum())


# --- AC/DC


def test_the_phases_of_ac_dc() -> None:
    """Published for 100 epochs, here 2 steps each: dense to 10, phases of 5 in turn, compressed from 85 on."""
    table = "".join("C" if is_compressed(t, every=10, start=20, stop=170) else "d" for t in range(200))
    assert table == "d" * 20 + ("C" * 10 + "d" * 10) * 7 + "C" * 10 + "C" * 30


def test_ac_dc_compresses_to_the_largest_and_what_comes_back_starts_from_zero() -> None:
    model, masks = network([[4.0, -3, 2, -1, 0.5, 0.4, 0.3, 0.2]])
    told: dict[str, Any] = {"every": 2, "start": 1, "stop": 7, "final_density": 0.25}
    sparse = SparseTraining(model, sgd(model, lr=1.0, momentum=0.5), masks, "ac_dc", **told)
    seen = []
    for _ in range(8):
        feel(model, [[0, 0, 0, 0, 0, 0, 0, -1.0]])
        sparse.step()
        seen.append(text(sparse.masks["weight"]))
        if len(seen) == 3:  # back from a compressed phase, in which the gradient was summed up
            state = sparse.optimizer.state[model.weight]
            assert model.weight.detach().tolist() == [[4, -3, 0, 0, 0, 0, 0, 0]]
            assert state["momentum_buffer"].tolist() == [[0] * 8]
    # In the dense phase the last weight becomes 1, then 1 + 1.5 = 2.5, below 3; with its old momentum it would be 3.8.
    assert seen == ["11000000"] * 2 + ["11111111"] * 2 + ["11000000"] * 2 + ["11000000"] * 2


# --- Top-KAST


def test_top_kast_computes_with_a_and_trains_b_alone() -> None:
    start = np.array([[4.0, -3, 2, -1, 0.5, 0.4, 0.3, 0.2]])
    model, masks = network(start.tolist())
    told: dict[str, Any] = {"every": 2, "stop": 9, "final_density": 0.25, "backward": 2.0, "pull": 0.1}
    sparse = SparseTraining(model, sgd(model, momentum=0.9, weight_decay=0.01), masks, "top_kast", **told)
    live = sparse._live
    assert isinstance(live, top_kast.Widening)
    assert text(sparse.masks["weight"]) == "11000000" and text(live.wide["weight"]) == "11110000"
    assert model.weight.detach().tolist() == [[4, -3, 0, 0, 0, 0, 0, 0]]
    pull, theta, buffer = np.array([0.1, 0.1, 0.1 / 0.25, 0.1 / 0.25]), start.copy(), np.zeros(4)
    for slope in (0.3, -8.0):
        gradient = slope * np.arange(1, 5) + pull * theta[0, :4] + 0.01 * theta[0, :4]
        buffer = 0.9 * buffer + gradient
        theta[0, :4] -= 0.5 * buffer
        feel(model, slope * np.arange(1, 9)[None])
        sparse.step()
        np.testing.assert_allclose(live.theta["weight"].numpy(), theta, atol=1e-12)
    wide = set(np.argsort(-abs(theta[0]))[:4].tolist())
    assert set(live.wide["weight"][0].nonzero().view(-1).tolist()) == wide
    largest = set(np.argsort(-abs(theta[0]))[:2].tolist())
    assert largest != {0, 1}, "the second step turns the order around"
    assert set(sparse.masks["weight"][0].nonzero().view(-1).tolist()) == largest
    np.testing.assert_allclose(model.weight.detach().numpy(), np.where(sparse.masks["weight"], theta, 0), atol=1e-12)


def test_from_stop_on_top_kast_trains_a_alone() -> None:
    model, masks = network(np.random.default_rng(0).normal(size=(3, 8)).tolist())
    sparse = SparseTraining(model, sgd(model, momentum=0.9), masks, "top_kast", every=2, stop=3, final_density=0.25)
    live, digests = sparse._live, []
    assert isinstance(live, top_kast.Widening)
    for step in range(8):
        before = live.theta["weight"].clone()
        feel(model, np.random.default_rng(step + 1).normal(size=(3, 8)))
        sparse.step()
        wide, mask = live.wide["weight"], sparse.masks["weight"]
        assert not (mask & ~wide).any() and (torch.equal(mask, wide) == (step >= 2))
        if step > 2:
            assert torch.equal(live.theta["weight"][~mask], before[~mask])
        digests.append(sparse.masks.digest())
    assert len(set(digests[2:])) == 1


def test_where_few_weights_are_not_zero_the_rest_of_b_is_drawn() -> None:
    theta = {"a": torch.tensor([[2.0, 0, 0, 1, 0, 0]])}
    ties = {"a": torch.tensor([[0.5, 0.2, 0.9, 0.5, 0.1, 0.6]], dtype=torch.float64)}
    inner, outer = top_kast.forward_and_backward(theta, {"a": 1}, {"a": 4}, lambda name, _: ties[name])
    assert (text(inner["a"]), text(outer["a"])) == ("100000", "101101")


# --- N:M


def test_n_of_m_by_hand() -> None:
    weight = torch.tensor([[1, -4, 3, 2, 0.1, 0, 0.3, -0.2, 7, 5]])
    assert text(n_m.n_of_m(weight, 2, 4)) == "0110001111"  # and the rest of two
    assert text(n_m.n_of_m(weight, 1, 4)) == "0100001010"
    assert text(n_m.n_of_m(torch.zeros(1, 8), 2, 4)) == "11001100"


@pytest.mark.parametrize("m", [2, 4, 7, 8])
def test_comparing_and_sorting_choose_the_same_also_among_equals(m: int) -> None:
    groups = torch.randint(0, 4, (500, m), generator=torch.Generator().manual_seed(m)).float()
    for n in range(1, m + 1):
        mask = n_m.by_comparing(groups, n)
        assert torch.equal(mask, n_m.by_sorting(groups, n)) and (mask.sum(1) == n).all()


def test_the_groups_of_a_convolution_are_along_its_channels() -> None:
    weight = torch.randn(3, 8, 2, 2, generator=torch.Generator().manual_seed(0))
    mask = n_m.n_of_m(weight, 2, 4)
    for taps in mask.permute(0, 2, 3, 1).reshape(-1, 4):
        assert taps.sum() == 2
    best = weight.abs().permute(0, 2, 3, 1).reshape(-1, 4).argsort(1, descending=True)[:, :2]
    assert mask.permute(0, 2, 3, 1).reshape(-1, 4).gather(1, best).all()


@pytest.mark.parametrize("shape", [(3, 5), (2, 1, 3, 3), (4, 6, 3, 3), (2, 37), (1, 1)])
@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (4, 4), (3, 7), (4, 16)])
def test_n_of_m_is_the_structure_of_that_name_and_its_number_is_known_before(
    shape: tuple[int, ...], n: int, m: int
) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    mask = n_m.n_of_m(weight, n, m)
    places = n_m_units(weight.abs().numpy(), 1, n=n, m=m).of
    assert torch.equal(mask, torch.from_numpy(places < n))
    assert int(mask.sum()) == n_m.kept(shape, n, m)


def test_sr_ste_trains_the_dense_weights_by_the_gradient_of_the_masked_ones() -> None:
    theta = np.array([[1.0, -4, 3, 2]])
    model, masks = network(theta.tolist())
    sparse = SparseTraining(model, sgd(model, momentum=0.9), masks, "n_m", refinement=0.1)
    assert model.weight.detach().tolist() == [[0, -4, 3, 0]]
    x, buffer = np.random.default_rng(0).normal(size=(3, 6, 4)), 0.0
    for number in range(3):
        kept = np.isin(np.arange(4), np.argsort(-abs(theta[0]))[:2])[None]
        assert text(sparse.masks["weight"]) == "".join("01"[int(k)] for k in kept[0])
        masked = kept * theta
        buffer = 0.9 * buffer + masked @ x[number].T @ x[number] + 0.1 * (theta - masked)
        theta = theta - 0.5 * buffer
        model.zero_grad()
        (model(torch.from_numpy(x[number])) ** 2).sum().div(2).backward()
        sparse.step()
        np.testing.assert_allclose(sparse.state_dict()["theta"]["weight"].numpy(), theta, atol=1e-9)


def test_a_mask_of_the_right_density_is_rewritten_as_n_of_m() -> None:
    model, masks = network([[4.0, 3, 2, 1, 0, 0, 0, 0]], "11110000")
    sparse = SparseTraining(model, sgd(model), masks, "n_m")
    assert text(sparse.masks["weight"]) == "11001100"


# --- MEST, ITOP, pruning at the end


def test_the_importance_of_mest_is_magnitude_and_slope() -> None:
    x = layer([4, 1, -2, 3, 0, 0], "111100", gradient=[0, 9.0, 0, 0, 99, 0])
    assert text(mest.shrunk({"a": x}, 0.0, {"a": 2})["a"]) == "100100"
    assert text(mest.shrunk({"a": x}, 0.2, {"a": 2})["a"]) == "100100"  # 1 + 1.8 is more than 2, and less than 3
    assert text(mest.shrunk({"a": x}, 0.3, {"a": 2})["a"]) == "110000"  # 1 + 2.7 is more than 3


def test_under_the_soft_bound_what_is_new_is_judged_after_it_has_trained() -> None:
    """Of four weights one more grows at step 2. By step 4 it is large, and the smallest of the old ones leaves."""
    model, masks = network([[4.0, 3, 2, 1, 0, 0, 0, 0]], "11110000")
    told: dict[str, Any] = {"every": 2, "stop": 5, "fraction": 0.25, "decay": "constant", "importance": 0.0, "seed": 4}
    sparse = SparseTraining(model, sgd(model, lr=1.0), masks, "mest", **told)
    slopes, seen = [[0.0] * 4 + [-3.0] * 4], []
    for _ in range(6):
        feel(model, slopes)
        sparse.step()
        seen.append(text(sparse.masks["weight"]))
    drawn = 4 + int(Streams(4)("rewiring", "weight/2").choice(4, 1, replace=False)[0])
    assert seen[0] == "11110000" and seen[1] == "1111" + "".join("01"[i == drawn] for i in range(4, 8))
    assert seen[3].startswith("1110") and seen[3][drawn] == "1" and seen[3].count("1") == 5
    assert seen[4].count("1") == 4 and seen[5] == seen[4], "from stop on the layer has what it is bound to"
    hard = load("rules", "mest")(every="2it", stop="5it", fraction=0.25, importance=0.0, soft=False)
    model, masks = network([[4.0, 3, 2, 1, 0, 0, 0, 0]], "11110000")
    sparse = SparseTraining(model, sgd(model, lr=1.0), masks, hard)
    for _ in range(6):
        feel(model, slopes)
        sparse.step()
        assert sparse.masks.nonzeros == 4


def test_itop_counts_what_has_been_active_at_some_time() -> None:
    model, masks = network([[4.0, 3, 2, 1, 0, 0, 0, 0]], "11110000")
    sparse = SparseTraining(model, sgd(model, lr=1e-3), masks, "itop", every=1, stop=6, fraction=0.5)
    union, explored = masks["weight"].clone(), []
    for _ in range(6):
        feel(model, torch.zeros(1, 8))
        sparse.step()
        union |= sparse.masks["weight"]
        explored.append(sparse.report()["explored"])
        assert explored[-1] == int(union.sum())
    assert explored[0] > 4 and explored == sorted(explored)


@pytest.mark.parametrize(("scope", "expected"), [("global", ["1110", "0000"]), ("even", ["1100", "1000"])])
def test_pruning_at_the_end_keeps_the_largest_and_tunes_them(scope: str, expected: list[str]) -> None:
    model = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False))
    first, second = model.parameters()
    with torch.no_grad():
        first.copy_(torch.tensor([[9.0, -8, 7, 1]]))
        second.copy_(torch.tensor([[2.0], [1], [1], [1]]))
    masks = Masks({name: torch.ones_like(p) for name, p in model.named_parameters()}, model)
    told: dict[str, Any] = {"final_density": 0.375, "scope": scope, "stop": 2}
    sparse = SparseTraining(model, sgd(model, lr=0.01), masks, "end_pruning", **told)
    seen = []
    for _ in range(4):
        model.zero_grad()
        (first.sum() + second.sum()).backward()
        sparse.step()
        seen.append([text(mask) for mask in sparse.masks.values()])
    assert seen == [["1111", "1111"]] + [expected] * 3
    torch.testing.assert_close(first.detach()[0, :2], torch.tensor([9 - 0.04, -8 - 0.04]))  # steps go on after it
