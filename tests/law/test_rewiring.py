"""One update of a topology: what leaves, what comes, how much of it where. Masks written out, closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.rewiring import drops, growth, shares
from sparse_ortho.rewiring.engine import Criteria, coming, dropped, leaving, update
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.rule import Rule
from sparse_ortho.rewiring.timetable import Timetable
from sparse_ortho.streams import Streams

#          0    1     2    3     4    5    6    7
WEIGHT = [0.5, -0.1, 0.3, -0.4, 0.0, 0.2, 0.0, 0.0]
ACTIVE = {0, 1, 2, 3, 5, 7}  # 7 is active and exactly 0
SLOPES = [9.0, -9.0, 9.0, 9.0, -0.2, 9.0, 0.1, 9.0]  # large where active, so that a rule that forgets the mask is seen


def marks(places: set[int], size: int = 8) -> torch.Tensor:
    return torch.tensor([i in places for i in range(size)])


def places(mask: torch.Tensor) -> set[int]:
    return set(mask.view(-1).nonzero().view(-1).tolist())


def layer(weight: list[float] = WEIGHT, active: set[int] = ACTIVE, name: str = "a", **given: Any) -> Layer:
    tensors = {k: torch.tensor(v) if isinstance(v, list) else v for k, v in given.items()}
    return Layer(name, torch.tensor(weight), marks(active, len(weight)), **tensors)


def state(**buffers: list[float]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(values) for name, values in buffers.items()}


def gone(drop: drops.Drop, count: int, **given: Any) -> set[int]:
    return places(dropped({"a": layer(**given)}, Criteria(drop, growth.random), {"a": count}, {})["a"])


def came(grow: growth.Grow, count: int, **given: Any) -> set[int]:
    return places(grow({"a": layer(**given)}, {"a": count})["a"])


# --- what leaves


@pytest.mark.parametrize(
    ("count", "expected"), [(0, set()), (1, {7}), (2, {7, 1}), (3, {7, 1, 5}), (5, {7, 1, 5, 2, 3}), (6, ACTIVE)]
)
def test_magnitude_drops_the_smallest_active_weights(count: int, expected: set[int]) -> None:
    assert gone(drops.magnitude, count) == expected


def test_exact_zeros_among_the_active_weights_cost_no_more_than_was_asked_for() -> None:
    assert gone(drops.magnitude, 2, weight=[0.0] * 8) == {5, 7}  # of equals the last ones


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, set()), (1, {7}), (2, {7, 1}), (3, {7, 5, 1}), (4, {7, 5, 1, 3}), (5, {7, 5, 2, 1, 3}), (6, ACTIVE)],
)
def test_set_drops_half_from_the_smallest_positive_and_half_from_the_largest_negative(
    count: int, expected: set[int]
) -> None:
    assert gone(drops.signed, count) == expected


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_set_takes_all_from_one_sign_where_there_is_only_one(sign: float) -> None:
    weight = [sign * w for w in (0.8, 0.1, 0.2, 0.7, 0.0, 0.3, 0.0, 0.9)]
    assert gone(drops.signed, 4, weight=weight) == {1, 2, 5, 3}


def test_magnitude_variance_is_the_product_of_both_in_parts_of_their_largest() -> None:
    v = [1.0, 1e-4, 4.0, 0.25, 0.0, 0.01, 0.0, 1.0]
    w, u = np.abs(np.array(WEIGHT)), 1 / (np.sqrt(np.array(v)) + 1e-8)
    score = {i: w[i] / w.max() * u[i] / max(u[j] for j in ACTIVE) for i in ACTIVE}
    order = sorted(ACTIVE, key=lambda i: score[i])
    assert order != sorted(ACTIVE, key=lambda i: w[i])
    for count in range(7):
        assert gone(drops.magnitude_variance, count, state=state(exp_avg=v, exp_avg_sq=v)) == set(order[:count])


def test_global_magnitude_lets_layers_compete() -> None:
    layers = {"a": layer(), "b": layer([5.0, 0.05, 0.15], {0, 1, 2}, "b")}
    found = drops.global_magnitude(layers, {"a": 3, "b": 1}, {})
    assert {name: places(mark) for name, mark in found.items()} == {"a": {7, 1}, "b": {1, 2}}


def test_a_threshold_moves_towards_what_was_asked_for() -> None:
    """0.001, doubled while it takes less than 98 %, halved when it takes more than 102 %."""
    memory: dict[str, float] = {}
    weight, active, taus = [0.0015, 0.003, 0.005, 0.1], {0, 1, 2, 3}, []
    for _ in range(5):
        mark = drops.threshold({"a": layer(weight, active)}, {"a": 2}, memory)["a"]
        taus.append((memory["threshold"], places(mark)))
    assert taus == [(0.002, set()), (0.004, {0}), (0.004, {0, 1}), (0.004, {0, 1}), (0.004, {0, 1})]
    drops.threshold({"a": layer(weight, active)}, {"a": 1}, memory)
    assert memory["threshold"] == 0.002


# --- what comes


@pytest.mark.parametrize(("count", "expected"), [(0, set()), (1, {4}), (2, {4, 6})])
def test_gradient_growth_takes_the_steepest_free_places(count: int, expected: set[int]) -> None:
    assert came(growth.gradient, count, gradient=SLOPES) == expected


def test_gradient_growth_without_a_gradient_takes_the_first_free_places() -> None:
    assert came(growth.gradient, 1) == {4}
    assert came(growth.gradient, 1, gradient=[math.nan] * 8) == {4}  # a run that diverges must reach its own end


@pytest.mark.parametrize("grow", [growth.momentum, growth.global_momentum])
def test_momentum_growth_reads_the_buffer_of_sgd(grow: growth.Grow) -> None:
    assert came(grow, 1, state=state(momentum_buffer=SLOPES)) == {4}


@pytest.mark.parametrize("grow", [growth.momentum, growth.global_momentum])
def test_momentum_growth_of_adam_is_the_first_moment_over_the_root_of_the_second(grow: growth.Grow) -> None:
    second = [1.0, 1.0, 1.0, 1.0, 4.0, 1.0, 0.0025, 1.0]  # 0.2 / 2 < 0.1 / 0.05
    assert came(grow, 1, state=state(exp_avg=SLOPES, exp_avg_sq=second)) == {6}
    second[4], second[6] = 3.24, 1.0  # 0.2 / 1.8 > 0.1 / 1, though 0.2 / 3.24 < 0.1 / 1
    assert came(grow, 1, state=state(exp_avg=SLOPES, exp_avg_sq=second)) == {4}


def test_an_optimizer_without_momentum_is_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="a: the rule reads momentum, and the optimizer keeps none"):
        came(growth.momentum, 1)
    with pytest.raises(UserError, match="only Adam and AdamW"):
        gone(drops.magnitude_variance, 1, state=state(momentum_buffer=SLOPES))


def test_global_momentum_lets_layers_compete() -> None:
    layers = {
        "a": layer(state=state(momentum_buffer=SLOPES)),
        "b": layer([1.0, 0.0, 0.0], {0}, "b", state=state(momentum_buffer=[9.0, -3.0, 0.15])),
    }
    found = growth.global_momentum(layers, {"a": 0, "b": 2})
    assert {name: places(mark) for name, mark in found.items()} == {"a": {4}, "b": {1}}


def test_units_share_by_mean_momentum_up_to_their_room() -> None:
    m = torch.tensor([[3.0, 3.0, 3.0, 3.0], [1.0, 0.5, 2.0, 0.5]])  # means 3 and 1: of four weights 3 and 1

    def grown(mask: list[list[int]], count: int) -> list[list[int]]:
        found = Layer("a", torch.zeros(2, 4), torch.tensor(mask).bool(), state={"momentum_buffer": m})
        return growth.momentum_neuron({"a": found}, {"a": count})["a"].int().tolist()

    assert grown([[0, 0, 0, 0], [0, 0, 1, 0]], 4) == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert grown([[1, 1, 1, 0], [0, 0, 1, 0]], 4) == [[0, 0, 0, 1], [1, 1, 0, 1]]


def test_random_growth_is_uniform_over_the_free_places_and_repeats() -> None:
    streams, hits = Streams(0), np.zeros(8)
    for step in range(2000):
        given = layer(active={0, 5}, rng=lambda s=step: streams("rewiring", f"a/{s}"))
        found, again = (growth.random({"a": given}, {"a": 3})["a"] for _ in range(2))
        assert torch.equal(found, again) and int(found.sum()) == 3
        hits += found.numpy()
    assert not hits[[0, 5]].any()
    assert np.abs(hits[[1, 2, 3, 4, 6, 7]] - 1000).max() < 4 * math.sqrt(2000 * 0.25)


# --- how much of it where


def with_momentum(m: float, active: int, size: int, name: str) -> Layer:
    """Active weights with momentum +-m, and larger ones that are masked."""
    buffer = [m * (-1) ** i if i < active else 99.0 for i in range(size)]
    return layer(
        [1.0] * active + [0.0] * (size - active), set(range(active)), name, state=state(momentum_buffer=buffer)
    )


def test_momentum_shares_do_not_depend_on_the_size_of_a_layer() -> None:
    layers = {"small": with_momentum(0.3, 4, 10, "small"), "large": with_momentum(0.1, 400, 1000, "large")}
    found = shares.momentum(layers)
    assert found == pytest.approx({"small": 0.3, "large": 0.1})
    assert coming(layers, {"small": 1, "large": 7}, found) == {"small": 6, "large": 2}  # R = 8


def test_a_full_layer_hands_on_what_it_cannot_take() -> None:
    layers = {name: with_momentum(m, 8, 10, name) for name, m in (("a", 100.0), ("b", 3.0), ("c", 1.0))}
    assert coming(layers, {"a": 3, "b": 3, "c": 0}, shares.momentum(layers)) == {"a": 2, "b": 2, "c": 2}
    assert coming(layers, {"a": 2, "b": 2, "c": 0}, shares.momentum(layers)) == {"a": 2, "b": 2, "c": 0}


def test_without_importance_each_layer_gets_back_what_it_lost() -> None:
    layers = {name: with_momentum(0.0, 5, 10, name) for name in "ab"}
    assert coming(layers, {"a": 4, "b": 1}, shares.momentum(layers)) == {"a": 4, "b": 1}
    assert coming(layers, {"a": 4, "b": 1}, None) == {"a": 4, "b": 1}


def test_a_layer_that_lost_everything_gets_a_weight_back() -> None:
    layers = {"a": with_momentum(0.0, 0, 10, "a"), "b": with_momentum(1.0, 5, 10, "b")}
    assert coming(layers, {"a": 2, "b": 2}, {"a": 0.0, "b": 1.0}) == {"a": 1, "b": 3}
    assert shares.momentum(layers)["a"] == 0.0  # and not NaN


def test_the_other_shares_are_their_closed_forms() -> None:
    layers = {"a": layer(state=state(exp_avg=WEIGHT, exp_avg_sq=[4.0, 9.0, 1.0, 0.0, 99.0, 16.0, 99.0, 4.0]))}
    assert shares.magnitude(layers)["a"] == pytest.approx(1.5 / 6)
    assert shares.nonzeros(layers) == {"a": 5.0}
    assert shares.size(layers) == {"a": 8.0}
    assert shares.variance(layers)["a"] == pytest.approx((2 + 3 + 1 + 0 + 4 + 2) / 6)


@pytest.mark.parametrize(
    ("round_up", "fraction", "expected"), [(True, 0.3, 2), (False, 0.3, 1), (True, 0.5, 3), (False, 0.5, 3)]
)
def test_counts_are_rounded_as_the_rule_says(round_up: bool, fraction: float, expected: int) -> None:
    criteria = Criteria(drops.magnitude, growth.random, round_up=round_up)
    assert leaving({"a": layer()}, criteria, fraction, None) == {"a": expected}  # of 6


def test_a_fraction_is_the_decimal_as_written() -> None:
    criteria = Criteria(drops.magnitude, growth.random, round_up=True)
    many = layer([1.0] * 200, set(range(100)))
    assert leaving({"a": many}, criteria, 0.07, None) == {"a": 7}  # in binary 0.07 * 100 is 7.000000000000001


def test_a_nearly_dense_layer_that_gains_is_spared() -> None:
    criteria = Criteria(drops.magnitude, growth.momentum, shares.momentum, round_up=True, spare_dense=True)
    layers = {"a": with_momentum(2.0, 90, 100, "a"), "b": with_momentum(1.0, 95, 100, "b")}
    assert leaving(layers, criteria, 0.5, shares.momentum(layers)) == {
        "a": 9,
        "b": 48,
    }  # ceil(0.1 * 90), ceil(0.5 * 95)
    layers["a"] = with_momentum(2.0, 80, 100, "a")  # a fifth is free: no longer nearly dense
    assert leaving(layers, criteria, 0.5, shares.momentum(layers))["a"] == 40


# --- the whole update


def test_rigl_by_hand() -> None:
    """Of six active weights two leave; the steepest places then are 7, which has just left, and 4."""
    criteria = Criteria(drops.magnitude, growth.gradient)
    slopes = [0.0, 0.05, 0.0, 0.0, -0.2, 0.0, 0.1, 9.0]
    done = update({"a": layer(gradient=slopes)}, criteria, 0.34, 6, {})
    assert places(done.masks["a"]) == {0, 2, 3, 5, 4, 7} and places(done.grown["a"]) == {4, 7}
    forbidden = Criteria(drops.magnitude, growth.gradient, may_return=False)
    done = update({"a": layer(gradient=slopes)}, forbidden, 0.34, 6, {})
    assert places(done.masks["a"]) == {0, 2, 3, 5, 4, 6} and places(done.grown["a"]) == {4, 6}


def test_what_may_not_return_leaves_only_as_far_as_there_is_other_room() -> None:
    forbidden = Criteria(drops.magnitude, growth.gradient, may_return=False)
    done = update({"a": layer(gradient=SLOPES)}, forbidden, 1.0, 6, {})
    assert places(done.masks["a"]) == {0, 2, 3, 5, 4, 6}  # two places were free


def test_a_full_layer_may_be_emptied_where_nothing_may_return() -> None:
    criteria = Criteria(drops.global_magnitude, growth.gradient, shares.size, may_return=False)
    layers = {"a": layer([0.01, 0.02], {0, 1}), "b": layer([1.0] * 6 + [0.0] * 6, set(range(6)), "b")}
    done = update(layers, criteria, 0.4, 8, {})  # 0 of 2 and 2 of 6
    assert [int(mask.sum()) for mask in done.masks.values()] == [0, 8]


def test_thinning_keeps_the_largest_of_all_layers() -> None:
    layers = {"a": layer(), "b": layer([5.0, 0.05, 0.15], {0, 1, 2}, "b")}
    done = update(layers, None, 0.0, 4, {})
    assert {name: places(mask) for name, mask in done.masks.items()} == {"a": {0, 2, 3}, "b": {0}}
    even = update(layers, None, 0.0, 4, {}, evenly=True)  # 4 of 11 places: 2.9 of 8 and 1.1 of 3
    assert {name: places(mask) for name, mask in even.masks.items()} == {"a": {0, 2, 3}, "b": {0}}
    even = update({"a": layer(), "b": layer([5.0, 3.0, 4.0], {0, 1, 2}, "b")}, None, 0.0, 4, {}, evenly=True)
    assert {name: places(mask) for name, mask in even.masks.items()} == {"a": {0, 2, 3}, "b": {0}}


def test_what_is_thinned_out_may_grow_again_by_its_gradient() -> None:
    criteria = Criteria(drops.magnitude, growth.gradient, round_up=True)
    done = update({"a": layer(gradient=SLOPES)}, criteria, 0.5, 4, {})
    # 0, 2, 3, 5 stay; of these 5 and 2 leave; the steepest are then 1, 2, 5 and 7, of which the first two grow
    assert places(done.masks["a"]) == {0, 3, 1, 2} and places(done.grown["a"]) == {1, 2}


DROPS = [drops.magnitude, drops.signed, drops.magnitude_variance, drops.global_magnitude, drops.threshold]
GROWTHS = [growth.random, growth.gradient, growth.momentum, growth.momentum_neuron, growth.global_momentum]
SHARES = [None, shares.momentum, shares.magnitude, shares.nonzeros, shares.size, shares.variance]


@given(
    st.sampled_from(DROPS),
    st.sampled_from(GROWTHS),
    st.sampled_from(SHARES),
    st.floats(0, 1),
    st.floats(0.2, 1),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)
def test_any_criteria_keep_the_budget_to_the_weight(
    drop: Any, grow: Any, share: Any, fraction: float, keep: float, evenly: bool, may_return: bool, seed: int
) -> None:
    rng, layers = np.random.default_rng(seed), {}
    for name, shape in (("a", (3, 4)), ("b", (5, 2)), ("c", (1, 3)), ("d", (2, 2, 3, 3))):
        mask = torch.from_numpy(rng.random(shape) < rng.choice([0.0, 0.3, 1.0]))
        draw = lambda shape=shape: torch.from_numpy(np.round(rng.normal(size=shape), 1).astype(np.float32))  # noqa: E731
        buffers = {"exp_avg": draw(), "exp_avg_sq": draw().abs()}
        stream = lambda name=name: Streams(seed)("rewiring", name)  # noqa: E731
        layers[name] = Layer(name, draw() * mask, mask, draw(), buffers, rng=stream)
    active = sum(one.active for one in layers.values())
    total = math.ceil(keep * active)
    done = update(layers, Criteria(drop, grow, share, may_return=may_return), fraction, total, {}, evenly)
    assert sum(int(mask.count_nonzero()) for mask in done.masks.values()) == total
    for name, grown in done.grown.items():
        assert not (grown & ~done.masks[name]).any()


# --- schedules


def table(rule: Rule, per_epoch: int | None = 450, total: int | None = 250 * 450) -> Timetable:
    return Timetable.of(rule, per_epoch, total)


PAIR = Criteria(drops.magnitude, growth.random)


def test_cosine_is_that_of_the_released_program() -> None:
    """CosineAnnealingLR from 0.5 with eta_min 0.005, by the half-angle identity."""
    times = table(Rule("r", "10it", stop="1.0", criteria=PAIR, fraction=0.5, decay="cosine", end=0.005), 10, 100)
    for step in range(100):
        assert times.fraction(step) == pytest.approx(0.005 + 0.495 * math.cos(math.pi * step / 200) ** 2)


def test_rigl_falls_to_nothing_at_its_end_and_linear_to_zero() -> None:
    cosine = table(Rule("r", "100it", stop="0.75", criteria=PAIR, fraction=0.3, decay="cosine"), None, 32_000)
    assert [cosine.fraction(t) for t in (0, 12_000, 24_000, 30_000)] == pytest.approx([0.3, 0.15, 0.0, 0.0])
    linear = table(Rule("r", "100it", criteria=PAIR, fraction=0.5, decay="linear"), None, 1000)
    assert [linear.fraction(t) for t in (0, 250, 900, 1000)] == pytest.approx([0.5, 0.375, 0.05, 0.0])
    assert table(Rule("r", "100it", criteria=PAIR, fraction=0.3), None, 1000).fraction(999) == 0.3


def test_updates_fall_on_multiples_of_every_between_start_and_stop() -> None:
    def steps(total: int, **given: Any) -> list[int]:
        times = table(Rule("r", criteria=PAIR, fraction=0.3, **given), 10, total)
        return [t for t in range(total + 1) if times.due(t)]

    assert steps(100, every="1ep") == [10, 20, 30, 40, 50, 60, 70, 80, 90]  # all epochs but the last
    assert steps(100, every="20it", stop="0.75") == [20, 40, 60]
    assert steps(100, every="20it", start="3ep", stop="80it") == [40, 60]


def test_the_cubic_path_has_its_published_values() -> None:
    """GraNet on CIFAR-10: 450 steps an epoch, every 1000 of them, 0.5 to 0.01 by epoch 110."""
    size = 1_000_000
    times = table(Rule("r", "1000it", final_density=0.01, density_stop="110ep"))
    found = {c: times.total(1000 * c, size // 2, size) for c in (1, 5, 10, 20, 30, 40, 48, 49, 60)}
    golden = {1: 0.4706, 5: 0.3648, 10: 0.2571, 20: 0.1116, 30: 0.0386, 40: 0.0130, 48: 0.0100}
    assert {c: round(found[c] / size, 4) for c in golden} == golden
    assert found[49] == found[60] == budget(0.01, size)
    assert [t for t in range(60_000) if times.due(t)] == [1000 * c for c in range(1, 50)]


@pytest.mark.parametrize(("per_epoch", "last", "of"), [(450, 49, 72), (500, 55, 80)])  # CIFAR-10 and CIFAR-100
def test_updates_of_the_published_recipes(per_epoch: int, last: int, of: int) -> None:
    """160 epochs of batches of 100, every 1000 steps, to the final density by epoch 110."""
    rule = Rule("r", "1000it", final_density=0.001, density_stop="110ep", criteria=PAIR, fraction=0.5)
    times = table(rule, per_epoch, 160 * per_epoch)
    due = [t // 1000 for t in range(160 * per_epoch + 1) if times.due(t)]
    assert due == list(range(1, of))  # the last one would fall on the end
    path = [times.total(1000 * c, 10_000, 1_000_000) for c in range(of + 1)]
    assert path == sorted(path, reverse=True) and path[0] == 10_000 and set(path[last:]) == {1000}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule("r", "1ep", criteria=PAIR), "rule.r.every: is in epochs; say how many steps"),
        (Rule("r", "10it", stop="0.75", criteria=PAIR), "rule.r.stop: is a fraction of the training"),
        (Rule("r", "0it", stop="9it", criteria=PAIR), "rule.r.every: must be at least one step"),
        (Rule("r", "10it", stop="10it", criteria=PAIR), "rule.r.every: no update falls before the end"),
        (Rule("r", "10it", final_density=0.1, density_stop="9it"), "rule.r.every: no update falls before the end"),
        (Rule("r", "10", stop="9it", criteria=PAIR), "rule.r.every: "),
    ],
)
def test_a_timetable_that_says_nothing_is_refused(rule: Rule, words: str) -> None:
    with pytest.raises(UserError, match=f"^{words}"):
        table(rule, None, None)


def test_an_update_after_the_training_is_refused() -> None:
    with pytest.raises(UserError, match="no update falls before the end of a training of 90 steps"):
        table(Rule("r", "100it", criteria=PAIR), 9, 90)
    with pytest.raises(UserError, match=r"rule.r.stop: comes after the last of 90 steps \(found '100it'\)"):
        table(Rule("r", "10it", final_density=0.1, density_stop="100it"), 9, 90)


@pytest.mark.parametrize(
    "bad", [{"fraction": 1.5}, {"decay": "cubic"}, {"moment": "never"}, {"regrown_value": "old"}, {"final_density": 0}]
)
def test_values_out_of_range_are_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"^rule\.r\.{next(iter(bad))}: "):
        Rule("r", **bad)
