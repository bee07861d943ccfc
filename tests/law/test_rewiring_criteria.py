"""Criteria of drop, their scope and normalisation, restored norms, overlap, flow: by hand and in closed form."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

import sparse_ortho as so
from sparse_ortho.errors import UserError
from sparse_ortho.masks import select
from sparse_ortho.registry import available, load
from sparse_ortho.rewiring import counting, drops, engine, gradient_drops, growth, ranking, running
from sparse_ortho.rewiring.engine import Criteria, dropped, update
from sparse_ortho.rewiring.flow import dead, repaired
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.norms import normalised, restored
from sparse_ortho.rewiring.overlap import overlaps
from sparse_ortho.streams import Streams

#           0     1    2     3     4     5    6    7       4 and 6 are masked, and steep
WEIGHT = [0.5, -0.1, 0.3, -0.4, 0.0, 0.2, 0.0, 0.6]
SLOPE = [0.2, 0.4, -0.1, 0.5, 9.0, -1.0, -9.0, 0.05]
ACTIVE = {0, 1, 2, 3, 5, 7}


def places(mask: torch.Tensor) -> set[int]:
    return set(mask.reshape(-1).nonzero().view(-1).tolist())


def layer(
    weight: list[float] = WEIGHT, active: set[int] = ACTIVE, slope: list[float] = SLOPE, name: str = "a"
) -> Layer:
    mask = torch.tensor([i in active for i in range(len(weight))])
    return Layer(name, torch.tensor(weight), mask, torch.tensor(slope), rng=lambda: Streams(0)("rewiring", name))


def gone(drop: str, count: int, layers: dict[str, Layer] | None = None, **options: Any) -> Any:
    layers = layers or {"a": layer()}
    counts = dict.fromkeys(layers, count)
    found = dropped(layers, Criteria(load("drops", drop), growth.random, **options), counts, {})
    found = {name: places(mark) for name, mark in found.items()}
    return found["a"] if len(found) == 1 else found


# |w g|: 0.1 0.04 0.03 0.2 - 0.2 - 0.03;  w g: 0.1 -0.04 -0.03 -0.2 - -0.2 - 0.03
# |w|+|g|: 0.7 0.5 0.4 0.9 - 1.2 - 0.65;  |w-g|: 0.3 0.5 0.4 0.9 - 1.2 - 0.55
# |g|/|w|: 0.4 4 0.33 1.25 - 5 - 0.083;  |w|/|g|: 2.5 0.25 3 0.8 - 0.2 - 12
@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        ("snip", {2, 7, 1}),
        ("snip_half", {2, 7, 3}),  # the two lowest, and the highest of which the first goes
        ("snip_plus", {0, 7, 2}),
        ("mest", {2, 1, 7}),
        ("gradstep", {0, 2, 1}),
        ("sensitivity", {7, 2, 0}),
        ("reciprocal_sensitivity", {5, 1, 3}),
        ("taylor_f0", {2, 7, 1}),
        ("magnitude", {1, 5, 2}),
        ("set", {5, 2, 1}),
        ("running_magnitude", {1, 5, 2}),
        ("running_snip", {2, 7, 1}),
    ],
)
def test_each_criterion_drops_what_its_formula_says(drop: str, expected: set[int]) -> None:
    assert gone(drop, 3) == expected


def test_gamma_weighs_the_gradient() -> None:
    assert gone("mest", 3, gamma=0.0) == {1, 5, 2}  # magnitude
    assert gone("mest", 3, gamma=100.0) == {7, 2, 0}  # |g|
    assert gone("gradstep", 1, gamma=2.5) == {0}  # 0.5 - 2.5 * 0.2 = 0


def test_squares_too_small_for_float32_keep_their_order() -> None:
    tiny = layer([3e-14, 1e-14, 2e-14, 4e-14], {0, 1, 2, 3}, [1e-14] * 4)
    assert gone("taylor_f0", 2, {"a": tiny}) == {1, 2}


def test_what_has_no_slope_at_all_is_judged_without_crash() -> None:
    flat = {"a": layer(slope=[0.0] * 8)}
    for drop in available()["drops"]:
        if drop not in ("grasp", "magnitude_variance", "threshold"):
            assert len(gone(drop, 2, flat)) == 2


def test_random_drops_are_uniform_and_repeat() -> None:
    hits = np.zeros(8)
    for seed in range(600):
        one = Layer("a", torch.tensor(WEIGHT), layer().mask, rng=lambda s=seed: Streams(s)("rewiring", "a"))
        found, again = gone("random", 2, {"a": one}), gone("random", 2, {"a": one})
        assert found == again and len(found) == 2 and found <= ACTIVE
        hits[list(found)] += 1
    assert np.abs(hits[list(ACTIVE)] - 200).max() < 4 * math.sqrt(600 * 2 / 9)


PAIR = {"a": layer(), "b": layer([0.01, -0.02, 0.025, 5.0], {0, 1, 2, 3}, [1.0, 1.0, 1.0, 0.0], "b")}


@pytest.mark.parametrize(
    ("drop", "a", "b"),
    [
        ("magnitude", {1}, {0, 1, 2}),
        ("set", {1}, {0, 1, 2}),  # the negative -0.02 and -0.1, the positive 0.01 and 0.025
        ("snip", set(), {0, 1, 2, 3}),  # 5 * 0 = 0
        ("snip_half", {3, 5}, {3, 0}),
    ],
)
def test_layers_compete_in_a_global_drop(drop: str, a: set[int], b: set[int]) -> None:
    assert gone(drop, 2, dict(PAIR), scope="global") == {"a": a, "b": b}


def matrix(weight: Any, mask: Any = None) -> dict[str, Layer]:
    weight = torch.tensor(weight)
    return {"a": Layer("a", weight, torch.ones_like(weight).bool() if mask is None else torch.tensor(mask).bool())}


def test_normalised_scores_are_parts_of_their_layer_output_or_input() -> None:
    score = {"a": torch.tensor([[1.0, 3.0], [2.0, 6.0]])}
    whole = matrix([[1.0, 3.0], [2.0, 6.0]])
    expected = {
        ("layer", "sum"): [[1 / 12, 3 / 12], [2 / 12, 6 / 12]],
        ("layer", "max"): [[1 / 6, 3 / 6], [2 / 6, 1.0]],
        ("output", "sum"): [[1 / 4, 3 / 4], [2 / 8, 6 / 8]],
        ("input", "sum"): [[1 / 3, 3 / 9], [2 / 3, 6 / 9]],
        ("input", "max"): [[1 / 2, 3 / 6], [1.0, 1.0]],
    }
    for (over, kind), values in expected.items():
        assert normalised(score, whole, over, kind)["a"].tolist() == [pytest.approx(row) for row in values]
    masked = matrix([[1.0, 3.0], [2.0, 6.0]], [[1, 1], [1, 0]])  # what is masked is no part of a sum
    assert normalised(score, masked, "layer", "sum")["a"][0].tolist() == pytest.approx([1 / 6, 3 / 6])
    assert normalised({"a": torch.zeros(2, 2)}, whole, "output", "max")["a"].tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_normalisation_changes_who_leaves() -> None:
    layers = matrix([[1.0, 1.5], [4.0, 8.0]])
    assert gone("magnitude", 2, layers) == {0, 1}
    assert gone("magnitude", 2, layers, normalize="output", norm_type="max") == {2, 0}


@pytest.mark.parametrize(("over", "along"), [("layer", None), ("output", (1, 2)), ("input", (0, 2))])
def test_a_restored_norm_is_that_of_before(over: str, along: Any) -> None:
    torch.manual_seed(0)
    before = torch.randn(4, 3, 5)
    stays = torch.rand(4, 3, 5) < 0.6
    stays[:, :, 0] = True
    weight = torch.where(stays, before, 0)
    found = restored(weight, before, stays, over)
    assert not found[~stays].any()
    wanted = torch.linalg.vector_norm(before, dim=along)
    torch.testing.assert_close(torch.linalg.vector_norm(found, dim=along), wanted)
    torch.testing.assert_close(found[stays].sign(), before[stays].sign())


def test_a_slice_with_nothing_left_stays_as_it_is() -> None:
    before = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    stays = torch.tensor([[False, False], [True, True]])
    assert restored(torch.zeros(2, 2), before, stays, "output").tolist() == [[0.0, 0.0], [0.0, 0.0]]


# --- running averages


def test_a_running_score_is_the_exponential_average_since_the_last_update() -> None:
    series = [[0.9, 0.1, 0.4], [0.1, 0.7, 0.4], [0.2, 0.9, 0.1]]
    for gamma in (0.0, 0.5, 1.0):
        memory: dict[str, Any] = {}
        watch: Any = running.running_magnitude.watch  # pyright: ignore[reportFunctionMemberAccess]
        for weight in series:
            watch({"a": layer(weight, {0, 1, 2}, weight)}, memory, gamma)
        mean = np.array(series[0])
        for weight in series[1:]:
            mean = gamma * mean + (1 - gamma) * np.array(weight)
        last = {"a": layer(series[-1], {0, 1, 2}, series[-1])}
        found = running.running_magnitude(last, {"a": 1}, memory, gamma=gamma)["a"]
        np.testing.assert_allclose(found.numpy(), mean, rtol=1e-6)
        assert not memory, "an update starts the average anew"


# --- overlap


def test_overlap_is_the_jaccard_index_of_what_is_left() -> None:
    layers = {"a": layer()}
    own = dropped(layers, Criteria(load("drops", "mest"), growth.random), {"a": 3}, {})
    found = overlaps(layers, {"a": 3}, own)
    left = {n: ACTIVE - gone(n, 3) for n in ("magnitude", "mest", "random", "reciprocal_sensitivity", "set", "snip")}
    left["own"] = left["mest"]
    expected = {
        f"{a}|{b}": len(left[a] & left[b]) / len(left[a] | left[b]) for a, b in itertools.combinations(sorted(left), 2)
    }
    assert found == pytest.approx(expected) and found["mest|own"] == 1.0


# --- flow


@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 3), st.floats(0, 1), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_no_unit_is_left_without_a_way_and_no_weight_is_added(
    rows: int, cols: int, taps: int, d: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask, size = rng.random((rows, cols, taps)) < d, rng.random((rows, cols, taps))
    found, moves = repaired(torch.from_numpy(mask), torch.from_numpy(size), True, lambda free: int(rng.choice(free)))
    after = found.numpy()
    assert after.sum() == mask.sum()
    was, now = [mask.any((1, 2)).sum() + mask.any((0, 2)).sum(), after.any((1, 2)).sum() + after.any((0, 2)).sum()]
    assert now >= was
    if mask.sum() >= rows + cols - 1:  # then there is room for all of them
        assert now == rows + cols
    assert (mask ^ after).sum() <= len(moves) and (now > was or not moves)
    for unit in np.flatnonzero(mask.any((1, 2))):
        assert after.any((1, 2))[unit], "what was alive stays alive"


def test_the_smallest_weight_that_nobody_needs_moves_to_the_dead_unit() -> None:
    weight = torch.tensor([[0.1, 0.3, 0.2], [0.9, 0.0, 0.05], [0.0, 0.0, 0.0]])
    mask = weight > 0
    found, moves = repaired(mask, weight, True, lambda free: int(free[1]))
    assert moves == [5, 7]  # 0.05 leaves; the second place of the third row comes
    assert found.tolist() == [[True, True, True], [True, False, False], [False, True, False]]
    lone = torch.tensor([[0.5, 0.0], [0.0, 0.4]])
    assert repaired(lone > 0, lone, True, lambda free: int(free[0]))[1] == []


def test_dead_units_are_counted_on_both_sides_unless_groups_hide_one() -> None:
    mask = {"a": torch.tensor([[1, 0, 0], [0, 0, 0]]).bool()}
    assert dead(mask, {"a": True}) == {"a": 3} and dead(mask, {"a": False}) == {"a": 1}


def net(width: int = 12) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


def loop(rule: str, steps: int = 9, model: nn.Module | None = None, density: float = 0.2, **options: Any) -> Any:
    model = model or net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    masks = options.pop("masks", None) or so.make_masks(model, density, layers="uniform", seed=1)
    options = {"every": 3, "stop": max(steps + 1, 4)} | options
    sparse = so.SparseTraining(model, optimizer, masks, rule, **options)
    go(model, sparse, steps)
    return model, sparse


def go(model: nn.Module, sparse: Any, steps: int, skip: int = 0) -> None:
    generator = torch.Generator().manual_seed(2)
    for step in range(steps):
        x = torch.randn(16, 6, generator=generator)
        if step >= skip:
            model.zero_grad()
            cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
            sparse.step()


@pytest.mark.parametrize("grow", ["random", "gradient"])
def test_flow_is_preserved_from_the_start_and_counted(grow: str) -> None:
    for flow in ("none", "start", "updates", "always"):
        _, sparse = loop("dst", 0 if flow == "start" else 9, flow=flow, flow_growth=grow)
        number = sum(dead(dict(sparse.masks), dict.fromkeys(sparse.masks, True)).values())
        assert sparse.masks.nonzeros == so.make_masks(net(), 0.2, layers="uniform", seed=1).nonzeros
        if flow != "none":
            assert sparse.report()["repaired"] > 0
        fits = {name: int(mask.sum()) >= sum(mask.shape) - 1 for name, mask in sparse.masks.items()}
        whole = {name: mask for name, mask in sparse.masks.items() if fits[name]}
        if flow != "none":
            assert whole and not any(dead(whole, dict.fromkeys(whole, True)).values())
        else:
            assert number > 0


def test_at_the_start_a_weight_moves_with_its_value() -> None:
    model, other = net(), net()
    masks = so.make_masks(model, 0.3, layers="uniform", seed=1)
    masks.apply_(other)
    loop("dst", 0, model, masks=masks, flow="start")
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert sorted(mine.view(-1).tolist()) == sorted(theirs.view(-1).tolist())
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


# --- a rule with them


def test_once_means_the_first_update_and_no_other() -> None:
    _, sparse = loop("dst", once=True)
    assert sparse.report()["updates"] == 1
    assert loop("dst")[1].report()["updates"] == 3


def test_grasp_drops_the_lowest_of_its_score_on_the_data_that_it_is_shown() -> None:
    torch.manual_seed(3)
    x, y = torch.randn(20, 6), torch.randint(0, 3, (20,))
    model, sparse = loop("dst", 2, density=0.5, drop="grasp", growth="random", data=[(x, y)], may_return=False)
    live = sparse._live
    before = {name: mask.clone() for name, mask in sparse.masks.items()}
    double = net().double()
    double.load_state_dict(model.state_dict())
    weights = [double.get_parameter(name) for name in before]
    g = torch.autograd.grad(cross_entropy(double(x.double()) / 200, y), weights, create_graph=True)
    Hg = torch.autograd.grad(sum((one * one.detach()).sum() for one in g), weights)
    fraction = live.times.fraction(3)
    live.rewire(3)
    for (name, mask), weight, h in zip(before.items(), weights, Hg, strict=True):
        score, gone_now = (weight * h).detach(), mask & ~sparse.masks[name]
        assert int(gone_now.sum()) == math.ceil(fraction * int(mask.sum()))
        assert score[gone_now].max() <= score[mask & ~gone_now].min() + 1e-15  # zeros of dead units are equal


def test_grasp_without_data_is_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match=r"grasp reads data; pass data="):
        loop("dst", drop="grasp")


@pytest.mark.parametrize("drop", ["running_magnitude", "running_snip", "grasp", "mest"])
def test_a_resumed_training_is_the_same_to_the_bit(drop: str) -> None:
    x, y = torch.randn(8, 6), torch.zeros(8).long()
    told: dict[str, Any] = {"drop": drop, "gamma": 0.7, "overlap": True, "flow": "always", "data": [(x, y)]}
    told |= {"restore_norm": "output", "normalize": "layer", "drop_scope": "global", "stop": 12}
    model, whole = loop("dst", 11, **told)
    for cut in (4, 6):
        first, sparse = loop("dst", cut, **told)
        saved = first.state_dict(), sparse.optimizer.state_dict(), sparse.state_dict()
        second, again = loop("dst", 0, **told)
        second.load_state_dict(saved[0])
        again.optimizer.load_state_dict(saved[1])
        again.load_state_dict(saved[2])
        go(second, again, 11, skip=cut)
        assert again.masks.digest() == whole.masks.digest()
        pairs = zip(model.parameters(), second.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert again.report() == whole.report() and len(again.state_dict()["overlaps"]) == 3


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.LSTM(6, 8, batch_first=True)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.rnn(x.view(len(x), 1, 6).expand(-1, 4, -1))[0]
        return self.head(self.attend(x, x, x, need_weights=False)[0].mean(1))


@pytest.mark.parametrize("rule", ["rigl", "sparse_momentum", "set", "granet", "dst"])
def test_recurrent_and_attention_weights_follow_rules(rule: str) -> None:
    """With masks that the caller has made: of linear and convolution layers alone they are made by make_masks."""
    model = Attentive()
    names = ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "attend.in_proj_weight", "attend.out_proj.weight", "head.weight"]
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(model.get_parameter(name).shape, generator=generator) < 0.4 for name in names}
    first = so.Masks(masks)
    more = {"density_stop": 4, "final_density": 0.2} if rule == "granet" else {}
    model, sparse = loop(rule, 10, model, masks=masks, **more, **({"flow": "updates"} if rule == "dst" else {}))
    for name in names:
        weight = model.get_parameter(name)
        assert not weight[~sparse.masks[name]].any() and weight[sparse.masks[name]].any()
        assert not torch.equal(sparse.masks[name], masks[name])
    wanted = math.floor(0.2 * first.size + 0.5) if rule == "granet" else first.nonzeros
    assert sparse.masks.nonzeros == wanted


# --- the device


def test_sorting_gives_the_masks_of_selection() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = {n: torch.from_numpy(np.round(rng.normal(size=shape), 1)) for n, shape in (("a", (3, 4)), ("b", (7,)))}
        among = {n: torch.from_numpy(rng.random(s.shape) < 0.6) for n, s in scores.items()}
        sizes = {n: int(mask.sum()) for n, mask in among.items()}
        each = {n: int(rng.integers(0, size + 1)) for n, size in sizes.items()}
        for counts in (each, sum(each.values())):
            found, known = ranking.by_sorting(scores, counts, among), select(scores, counts, among)
            assert all(torch.equal(found[n], known[n]) for n in scores)


class Reads(TorchDispatchMode):
    """Counts operations whose result the host waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("drop", ["magnitude", "set", "snip_half", "mest", "threshold", "random"])
@pytest.mark.parametrize("grow", available()["growths"])
def test_an_update_waits_for_the_device_as_often_for_many_layers_as_for_few(
    drop: str, grow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (growth, drops, gradient_drops):
        monkeypatch.setattr(module, "best", ranking.by_sorting)
    transfers = {"number": 0}
    for module in (engine, growth, drops, counting):
        for name in ("count_each", "_rows"):
            if hasattr(module, name):
                real = getattr(module, name)

                def counted(values: Any, real: Any = real) -> Any:
                    transfers["number"] += 1
                    return real(values)

                monkeypatch.setattr(module, name, counted)
    found = []
    for number in (2, 9):
        transfers["number"] = 0
        layers = {}
        for i in range(number):
            torch.manual_seed(i)
            mask = torch.rand(6, 7) < 0.5
            buffer = {"momentum_buffer": torch.randn(6, 7)}
            stream = lambda i=i: Streams(0)("rewiring", str(i))  # noqa: E731
            layers[str(i)] = Layer(str(i), torch.randn(6, 7) * mask, mask, torch.randn(6, 7), buffer, rng=stream)
        active = counting.counts({name: one.mask for name, one in layers.items()})
        layers = {name: one.with_mask(one.mask, active[name]) for name, one in layers.items()}
        with Reads() as reads:
            update(layers, Criteria(load("drops", drop), load("growths", grow)), 0.4, sum(active.values()), {})
        found.append((reads.number, transfers["number"]))
    assert found[0] == found[1] and found[0][0] == 0


# --- a thousand updates


@given(st.integers(0, 10_000), st.sampled_from(["zero", "full", "dead", "plain"]))
@settings(max_examples=8, deadline=None)
def test_sums_stay_over_random_updates_whatever_gradients_and_layers_are(seed: int, kind: str) -> None:
    """8 x 125: zero gradients, full layers, dead layers."""
    rng, names = np.random.default_rng(seed), available()
    judges = [name for name in names["drops"] if name not in ("grasp", "magnitude_variance")]
    shapes = {"a": (4, 5), "b": (3, 2, 2, 2), "c": (6, 1), "d": (2, 9)}
    masks = {n: torch.from_numpy(rng.random(shape) < 0.5) for n, shape in shapes.items()}
    if kind == "full":
        masks["a"][:] = masks["c"][:] = True
    if kind == "dead":
        masks["b"][:] = masks["d"][:] = False
    total, memory = sum(int(mask.sum()) for mask in masks.values()), {}
    for step in range(125):
        layers = {}
        for name, mask in masks.items():
            slope = torch.from_numpy(rng.normal(size=mask.shape)) * (kind != "zero" and rng.random() < 0.9)
            weight = torch.from_numpy(np.round(rng.normal(size=mask.shape), 1)) * mask
            stream = lambda name=name, step=step: Streams(seed)("rewiring", f"{name}/{step}")  # noqa: E731
            layers[name] = Layer(name, weight, mask, slope, {"momentum_buffer": slope}, rng=stream)
        share = rng.choice([*names["shares"], "none"])
        criteria = Criteria(
            load("drops", str(rng.choice(judges))),
            load("growths", str(rng.choice(names["growths"]))),
            None if share in ("none", "variance") else load("shares", str(share)),
            round_up=bool(rng.integers(2)),
            spare_dense=bool(rng.integers(2)),
            may_return=bool(rng.integers(2)),
            scope=str(rng.choice(["layer", "global"])),
            normalize=str(rng.choice(["none", "layer", "output", "input"])),
            norm_type=str(rng.choice(["sum", "max"])),
        )
        done = update(layers, criteria, float(rng.random()), total, memory)
        masks = done.masks
        assert sum(int(mask.sum()) for mask in masks.values()) == total
