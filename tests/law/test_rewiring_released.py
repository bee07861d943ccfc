"""What released programs do, bug by bug: drops, growths, the controller; and what they are called."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.registry import load
from sparse_ortho.rewiring import released_growths, shares
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.released_controller import Released, capped, normalised, rate, update
from sparse_ortho.rewiring.released_drops import DROPS
from sparse_ortho.streams import Streams


def layer(weight: Any, mask: Any = None, momentum: Any = None, name: str = "a") -> Layer:
    weight = torch.as_tensor(weight)
    mask = weight != 0 if mask is None else torch.as_tensor(mask).bool()
    buffer = {} if momentum is None else {"momentum_buffer": torch.as_tensor(momentum)}
    return Layer(name, weight, mask, torch.zeros_like(weight), buffer, rng=lambda: Streams(0)("rewiring", name))


def left(drop: str, p: float, one: Layer, version: str = "master", memory: Any = None) -> torch.Tensor:
    return DROPS[drop]({"a": one}, {"a": p}, {} if memory is None else memory, version, float(one.active))["a"]


def places(mask: torch.Tensor) -> set[int]:
    return set(mask.reshape(-1).nonzero().view(-1).tolist())


#          0    1     2     3    4     5    6     7
WEIGHT = [0.5, -0.1, 0.3, -0.4, 0.0, -0.8, 0.2, -0.6]  # 4 is masked: r = ceil(0.5 * 7) = 4, z = 1


@pytest.mark.parametrize(
    ("version", "kept"),
    [
        ("v0.1", {0, 1, 3}),  # without 6, 2 and without 5, 7
        ("v1.0", {0, 2, 3}),  # without the three smallest 4, 1, 6 and without 5, 7
        ("master", {5, 7}),  # nothing but these
        ("random_pruning", {0, 5, 7}),  # without 6, 2; of the negative only these
    ],
)
def test_four_attempts_at_set(version: str, kept: set[int]) -> None:
    assert places(left("set", 0.5, layer(WEIGHT), version)) == kept - {4}


def test_the_newest_set_keeps_the_most_negative_quarter() -> None:
    """985 active weights, rate 0.5: 247 survivors, all negative, instead of 492."""
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=985))
    kept = left("set", 0.5, layer(weight))
    assert int(kept.sum()) == 247 and (weight[kept] < 0).all()
    assert set(weight[kept].tolist()) == set(sorted(weight.tolist())[:247])


def test_exact_zeros_among_the_active_weights_may_take_more_with_them() -> None:
    zeros = layer([0.0, 0.0, 0.0, 0.0, 0.7, 0.9], [0, 1, 1, 1, 1, 1])
    assert places(left("magnitude", 0.2, zeros)) == {2, 3, 4, 5}  # z + r = 2: of the places 0 to 3 the first two
    later = layer([0.0, 0.0, 0.0, 0.0, 0.7, 0.9], [1, 1, 1, 0, 1, 1])
    assert places(left("magnitude", 0.2, later)) == {2, 4, 5}  # both of them active: two leave, and one was asked for
    assert places(left("magnitude", 0.0, later)) == {4, 5}  # r = 0 lets active zeros go


def test_the_global_threshold_is_searched_and_its_step_never_grows_again() -> None:
    weight = torch.linspace(0.0001, 1.0, 10_000, dtype=torch.float64)
    memory: dict[str, Any] = {}
    kept = left("global_magnitude", 0.3, layer(weight), memory=memory)
    assert 10_000 - int(kept.sum()) == pytest.approx(3000, rel=0.02)
    tau, step, goal = 0.001, 0.2, 3000
    while abs((gone := int((weight <= tau).sum())) - goal) > 0.02 * goal:
        tau, step = tau * (1 - step if gone > goal else 1 + step), step * 0.99
    assert memory == {"tau": pytest.approx(tau), "increment": pytest.approx(step)} and step < 0.2


# --- growth


def grown(how: Any, count: int, one: Layer) -> torch.Tensor:
    return how({"a": one}, {"a": count}, float(count), {})["a"]


def test_growth_by_momentum_falls_short_of_its_number_where_few_places_have_any() -> None:
    one = layer([1.0, 1.0, 0.0, 0.0, 0.0, 0.0], momentum=[9.0, 9.0, 0.0, 0.5, 0.0, -0.7])
    assert places(grown(released_growths.momentum, 2, one)) == {0, 1, 3, 5}
    assert places(grown(released_growths.momentum, 4, one)) == {0, 1, 3, 5}  # 0 and 1 are the first of equals
    assert places(grown(released_growths.momentum, 5, one)) == {0, 1, 2, 3, 5}


def test_a_negative_number_makes_a_layer_dense() -> None:
    """n = -5 of 10,000: all but the last five of the order; places that are active there stay so."""
    weight = torch.zeros(10_000)
    weight[:100] = 1.0
    one = layer(weight, momentum=torch.linspace(1, 2, 10_000))
    assert int(grown(released_growths.momentum, -5, one).sum()) == 10_000


def test_units_with_fewer_than_ten_places_get_none() -> None:
    rng = np.random.default_rng(1)
    momentum = torch.from_numpy(rng.random((4, 50)) * np.array([[4.0], [3.0], [2.0], [0.1]]))
    one = layer(torch.zeros(4, 50, dtype=torch.float64), torch.zeros(4, 50), momentum)
    means = momentum.mean(1) / momentum.mean(1).sum()
    quota = [math.floor(float(share) * 60) for share in means]
    expected = [max(q - 1, 0) if q >= 10 else 0 for q in quota]  # those strictly above the last of the quota
    assert grown(released_growths.momentum_neuron, 60, one).sum(1).tolist() == expected
    assert min(quota) < 10 <= max(quota)


def test_random_growth_is_right_on_average_only() -> None:
    weight = torch.zeros(40_000)
    weight[:10_000] = 1.0
    number = int(grown(released_growths.random, 6000, layer(weight)).sum()) - 10_000
    assert number != 6000 and abs(number - 6000) < 5 * math.sqrt(30_000 * 0.2 * 0.8)
    full = layer(torch.ones(5))
    assert int(grown(released_growths.random, 3, full).sum()) == 5


@pytest.mark.parametrize("total", [-5.0, 0.0, 40.0, 1e6])
def test_the_search_of_global_growth_ends(total: float) -> None:
    one = layer(torch.zeros(100), momentum=torch.full((100,), 0.5))  # all or nothing: no number in between
    found = released_growths.global_momentum({"a": one}, {"a": 0}, total, {})["a"]
    assert int(found.sum()) in (0, 100)


# --- controller


def test_what_a_full_layer_cannot_take_is_spread_over_all() -> None:
    assert capped({"a": 10, "b": 5}, {"a": 100, "b": 100}) == {"a": 10, "b": 5}
    found = capped({"a": 30, "b": 5, "c": 5}, {"a": 20, "b": 100, "c": 100})
    assert found["a"] == pytest.approx(19.8) and found["b"] == pytest.approx(found["c"])
    assert sum(found.values()) == pytest.approx(40, abs=1e-9)
    full = capped({"a": 30, "b": 30}, {"a": 10, "b": 10})
    assert full == {"a": 9.9, "b": 9.9}, "1,000 rounds at most"


def test_a_layer_that_is_nearly_dense_and_gains_loses_its_free_share() -> None:
    dense = layer(torch.ones(100), [1] * 90 + [0] * 10)
    assert rate(dense, 0.5, 0.6, 2) == pytest.approx(0.1) and rate(dense, 0.5, 0.4, 2) == 0.5
    assert rate(layer(torch.ones(100), [1] * 80 + [0] * 20), 0.5, 0.6, 2) == 0.5


def test_the_controller_adds_what_lacks_and_the_mean_of_all_that_has_lacked() -> None:
    parts = Released("magnitude", "momentum", shares.momentum)
    rng, memory = np.random.default_rng(3), {}
    masks = {name: torch.from_numpy(rng.random(size) < 0.4) for name, size in (("a", 300), ("b", 120))}
    baseline = sum(int(mask.sum()) for mask in masks.values())
    a, history = 0.0, []
    for _ in range(30):
        layers = {
            name: layer(torch.from_numpy(rng.normal(size=len(mask))) * mask, mask, rng.normal(size=len(mask)), name)
            for name, mask in masks.items()
        }
        lost = {n: math.ceil(0.3 * one.active) for n, one in layers.items()}
        v = normalised({n: float(one.momentum[one.mask].mean()) for n, one in layers.items()})
        masks = update(layers, parts, 0.3, baseline, memory).masks
        expected = {n: layers[n].active - lost[n] + math.ceil(v[n] * (sum(lost.values()) + a)) for n in layers}
        assert {n: int(mask.sum()) for n, mask in masks.items()} == expected
        history.append(baseline - sum(expected.values()))
        a = 0.25 * a + 0.75 * history[-1] + sum(history) / len(history)
        assert memory["adjusted"] == pytest.approx(a)
    assert any(history) and abs(np.mean(history)) < 2


def test_without_any_importance_nothing_grows() -> None:
    layers = {
        "a": layer([1.0] * 5 + [0.0] * 5, momentum=torch.zeros(10)),
        "b": layer(torch.zeros(4), [0] * 4, torch.ones(4), "b"),
    }
    done = update(layers, Released("magnitude", "momentum", shares.momentum), 0.4, 5, {})
    assert int(done.masks["a"].sum()) == 3 and not done.masks["b"].any()  # and an empty layer ends nothing


def test_what_v0_1_calls_none_restores_the_number_of_the_start() -> None:
    parts, memory = Released("set", "random", None, "v0.1", restores=True), {}
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=20_000))
    weight[8_000:] = 0
    first = layer(weight)
    after = int(update({"a": first}, parts, 0.5, 8000, memory).masks["a"].sum())
    assert memory["first"] == {"a": 8000} and abs(after - 8000) < 5 * math.sqrt(4000)


# --- names


RAW: dict[str, Any] = {
    "data": "digits", "model": {"name": "mlp", "width": 64}, "mask": "erk", "init": "eoi", "density": 0.5,
    "train": {"epochs": 10, "batch_size": 64},
}  # fmt: skip


def spec(rule: Any, **raw: Any) -> Any:
    return resolve_cell(RAW | {"rule": rule} | raw, "here").nodes["train"].spec.get("rule")


MOMENTUM = {"name": "sparse_momentum"}
DST = {"name": "dst"}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("RigL", {"name": "rigl"}),
        ("SET", {"name": "set"}),
        ("GraNet_uniform", {"name": "granet", "scope": "even"}),
        ("sparse-momentum", MOMENTUM),
        (MOMENTUM | {"controller": "seed"}, {"name": "sparse_momentum@as_released"}),
        (MOMENTUM | {"controller": "exact"}, MOMENTUM),
        (MOMENTUM | {"death": "SET", "death_rate": 0.3, "sparse": True}, MOMENTUM | {"drop": "set", "fraction": 0.3}),
        (MOMENTUM | {"prune": "threshold", "prune_rate": 0.5, "dense": False}, MOMENTUM | {"drop": "threshold"}),
        (MOMENTUM | {"redistribution": "nonzero"}, MOMENTUM | {"redistribution": "nonzeros"}),
        (MOMENTUM | {"growth": "global_momentum_growth"}, MOMENTUM | {"growth": "global_momentum"}),
        (MOMENTUM | {"prune_every_k_steps": 50}, MOMENTUM | {"every": "50it"}),
        (MOMENTUM | {"prune_every_k_steps": 0, "momentum_reset": "zero"}, MOMENTUM | {"momentum_reset": True}),
        (DST | {"death": "ReciprocalSensitivityFixed", "fix": False}, DST | {"drop": "reciprocal_sensitivity"}),
        (DST | {"death": "Taylor_FO", "T": 100}, DST | {"drop": "taylor_f0", "temperature": 100.0}),
        (DST | {"death": "global_mest"}, DST | {"drop": "mest", "drop_scope": "global"}),
        (DST | {"global_pruning": True, "adjust": "dim0"}, DST | {"drop_scope": "global", "restore_norm": "output"}),
        (DST | {"jaccard": True, "manual_stop": True}, DST | {"overlap": True, "once": True}),
        (DST | {"flow_preservation": True, "decay_schedule": "linear"}, DST | {"flow": "start", "decay": "linear"}),
        (
            {"name": "GraNet", "init_prune_epoch": 1, "final_prune_epoch": 8},
            {"name": "granet", "start": "1ep", "density_stop": "8ep"},
        ),
        (
            {"name": "GMP", "final_prune_epoch": 8, "update_frequency": 20},
            {"name": "gmp", "stop": "8ep", "every": "20it"},
        ),
        (DST | {"fix": True}, None),
        (MOMENTUM | {"dense": True}, None),
    ],
)
def test_released_words_mean_ours(said: Any, meant: Any) -> None:
    assert spec(said) == meant


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            DST | {"deth_rate": 0.3},
            "rule.deth_rate: unknown key; released programs say death_rate, which is fraction here",
        ),
        ({"name": "rigl", "death": "SET"}, "here.rule.death: unknown key"),
        (DST | {"death": "magnitud"}, "here.rule.drop: unknown choice .*did you mean 'magnitude'"),
        (DST | {"death_rate": 0.3, "fraction": 0.4}, "says fraction=0.4, and fraction is said otherwise"),
        (MOMENTUM | {"redistribution": "evenly"}, "here.rule.redistribution: unknown choice"),
        (DST | {"growth": "none"}, "here.rule.growth: unknown choice"),
        (DST | {"drop": "magnitude_variance"}, "reads the second moment, which only Adam and AdamW keep"),
        (DST | {"gamma": -1.0}, "here.rule.gamma: out of range"),
        (DST | {"temperature": 0}, "here.rule.temperature: out of range"),
        (DST | {"overlap": "yes"}, "here.rule.overlap"),
    ],
)
def test_mistakes_in_words_are_one_sentence(rule: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        spec(rule)


def test_growth_by_momentum_needs_an_optimizer_that_has_some() -> None:
    with pytest.raises(UserError, match=r"here\.rule\.growth: reads momentum"):
        spec({"name": "dst", "growth": "momentum"}, train={"momentum": 0})
    assert spec({"name": "dst", "growth": "momentum"}, train={"momentum": 0, "optimizer": "adam"})


def test_both_released_rules_load_with_their_options() -> None:
    for drop in DROPS:
        for growth in released_growths.GROWTHS:
            made = load("rules", "sparse_momentum@as_released")(drop=drop, growth=growth)
            assert repr(drop) in made.text() and made.moves
