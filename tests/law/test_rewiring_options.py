"""Options of several rules: what the optimizer thinks of new weights, layers that are left alone, whole kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import sparse_ortho as so
from sparse_ortho.errors import UserError
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.plan.shapes import refuse_unreachable
from sparse_ortho.registry import load, resolve
from sparse_ortho.rewiring import dsr, exclusion, fresh, moments
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.rule import Rule
from sparse_ortho.rewiring.timetable import Timetable
from sparse_ortho.streams import Streams
from tests.law.rule_runs import OPTIMIZERS
from tests.law.test_rewiring_training import SWAP, buffer, feel, one_layer

# --- momentum_reset: mean


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_new_weights_start_with_the_mean_moment_of_those_that_stay(kind: str) -> None:
    """Of the active 0 1 2 3 the last two leave; 3 and 6 grow, as in the test of `momentum_reset: true`."""
    rule = Rule("r", "2it", stop="4it", criteria=SWAP, fraction=0.5, momentum_reset="mean")
    later = Rule("s", "9it", stop="10it", criteria=SWAP, fraction=0.5)
    (model, sparse), (other, untouched) = one_layer(rule, kind), one_layer(later, kind)
    for _ in range(2):
        for net, training in ((model, sparse), (other, untouched)):
            feel(net)
            training.step()
    new = [3, 6]
    stay = sparse.masks["weight"][0].clone()
    stay[new] = False
    assert stay.nonzero().view(-1).tolist() == [0, 1]
    keys = {"momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"} & set(
        next(iter(sparse.optimizer.state.values()))
    )
    assert keys
    for key in keys:
        kept, before = buffer(sparse, key)[0], buffer(untouched, key)[0]
        mean = (float(before[0]) + float(before[1])) / 2
        assert kept[new].tolist() == pytest.approx([mean, mean], rel=1e-6) and mean != 0
        assert torch.equal(kept[[0, 1, 2, 4, 5, 7]], before[[0, 1, 2, 4, 5, 7]])


def test_the_mean_is_of_the_known_alone_and_0_of_none() -> None:
    weight = nn.Parameter(torch.zeros(1, 8))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    where, known = (torch.tensor([[c == "1" for c in text]]) for text in ("00001100", "11000010"))
    for stay, expected in (
        (known, [1, 2, torch.nan, 4, 10 / 3, 10 / 3, 7, 8]),
        (known & False, [1, 2, torch.nan, 4, 0, 0, 7, 8]),
    ):
        optimizer.state[weight]["momentum_buffer"] = torch.tensor([[1.0, 2, torch.nan, 4, 5, 6, 7, 8]])
        moments.restart(optimizer, weight, where, stay)
        torch.testing.assert_close(
            optimizer.state[weight]["momentum_buffer"], torch.tensor([expected]), equal_nan=True, rtol=1e-6, atol=0
        )


RESETS = ["ac_dc", "dsr", "dst", "granet", "itop", "mest", "rigl", "set", "sparse_momentum", "srigl"]


@pytest.mark.parametrize("rule", RESETS)
def test_every_rule_that_resets_moments_may_take_the_mean(rule: str) -> None:
    def spec(reset: Any) -> Any:
        raw = {"data": "digits", "model": "mlp", "mask": "erk", "init": "eoi", "density": 0.5, "train": {"epochs": 2}}
        return resolve_cell(raw | {"rule": {"name": rule, "momentum_reset": reset}}, "here").nodes["train"].spec["rule"]

    assert spec("mean") == {"name": rule, "momentum_reset": "mean"}
    assert spec(True) != spec(False)
    with pytest.raises(UserError, match=r"momentum_reset"):
        spec("median")


# --- leave


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


LEAVING: dict[str, dict[str, Any]] = {
    "dsr": {"target": 4, "threshold": 0.1},
    "dst": {"drop": "running_magnitude"},
    "rigl": {},
    "set": {},
    "sparse_momentum": {},
}


@pytest.mark.parametrize("rule", LEAVING)
def test_layers_that_a_rule_leaves_keep_their_masks_and_the_others_their_number(rule: str) -> None:
    model = small()
    masks = so.make_masks(model, 0.4, seed=1)
    full = {name: torch.ones_like(mask) if name == "0.weight" else mask.clone() for name, mask in masks.items()}
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    told = {"every": 2, "stop": 20, "leave": ("0.*", "4.weight"), **LEAVING[rule]}
    sparse = so.SparseTraining(model, optimizer, full, rule, **told)
    generator, moved = torch.Generator().manual_seed(3), set()
    for _ in range(16):
        x = torch.randn(16, 6, generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(x), (x[:, 0] > 0).long() + (x[:, 1] > 0).long()).backward()
        sparse.step()
        for name in ("0.weight", "4.weight"):
            assert torch.equal(sparse.masks[name], full[name])
        assert sparse.masks["2.weight"].sum() == full["2.weight"].sum()
        moved.add(sparse.masks["2.weight"].numpy().tobytes())
        assert all(not model.get_parameter(name)[~mask].any() for name, mask in sparse.masks.items())
    assert len(moved) > 1 and sparse.report()["updates"] >= 7
    assert sparse.report()["layers"]["0.weight"] == {"active": 48, "density": 1.0, "dropped": 0, "grown": 0}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"leave": ("9.*",)}, r"rule\.dst\.leave: no mask matches \(found '9\.\*'\)"),
        ({"leave": ("*",)}, r"rule\.dst\.leave: leaves every layer as it is"),
        ({"leave": ("0.*",), "flow": "start"}, r"rule\.dst\.flow: moves weights of every layer, and leave names some"),
    ],
)
def test_what_cannot_be_left_is_refused_in_one_sentence(options: dict[str, Any], words: str) -> None:
    model = small()
    with pytest.raises(UserError, match=words):
        so.SparseTraining(
            model, OPTIMIZERS["sgd"](model.parameters()), so.make_masks(model, 0.4, seed=1), "dst", **options
        )


# --- DSR of whole kernels


def kernels(values: list[list[float]], active: list[list[int]], taps: int, name: str) -> Layer:
    """Kernel (o, i) has weights v + 1, v - 1, v, ... times a sign, so that their mean magnitude is v; v > 1."""
    v = torch.tensor(values, dtype=torch.float32)[..., None].expand(-1, -1, taps).clone()
    v[..., 0] += 1
    v[..., 1] -= 1
    v[..., 0] *= -1
    mask = torch.tensor(active, dtype=torch.bool)[..., None].expand(v.shape).clone()
    return Layer(name, (v * mask).unsqueeze(-1), mask.unsqueeze(-1), rng=lambda: Streams(0)("rewiring", name))


def test_dsr_prunes_kernels_by_their_mean_magnitude() -> None:
    """Two layers of kernels of 3 and one of 2: below 4 are two kernels of `a` and none of `b`, one of `c`.

    `a` has one kernel left, `b` two, so the two that grow are shared 1 : 2, which is 0.67 and 1.33: one each.
    """
    layers = {
        "a": kernels([[2, 3, 9], [1, 1, 1]], [[1, 1, 1], [0, 0, 0]], 3, "a"),
        "b": kernels([[5, 6, 1], [1, 1, 1]], [[1, 1, 0], [0, 0, 0]], 3, "b"),
        "c": kernels([[3, 7]], [[1, 1]], 2, "c"),
    }
    change, threshold = dsr.reparameterized_kernels(layers, 4.0, target=8)
    assert threshold == 4.0, "8 weights have left, as many as were wanted"
    for name, layer in layers.items():
        mask = change.masks[name]
        assert mask.shape == layer.mask.shape
        assert torch.equal(mask, dsr.whole(mask)[..., None, None].expand(mask.shape)), "whole kernels"
    assert [int(change.masks[n].sum()) for n in layers] == [2 * 3, 3 * 3, 2 * 2]
    assert dsr.whole(change.masks["a"])[0].tolist() == [False, False, True]
    assert dsr.whole(change.masks["b"])[0, :2].tolist() == [True, True]
    assert [int(change.grown[n].sum()) for n in layers] == [3, 3, 2]
    for target, expected in ((16, 8.0), (4, 2.0)):
        assert dsr.reparameterized_kernels(layers, 4.0, target)[1] == expected


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_training_with_dsr_of_kernels_keeps_kernels_whole_and_their_number(channels_last: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 2), nn.ReLU(), nn.Flatten(), nn.Linear(54, 4))
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    masks = so.make_masks(model, 0.3, seed=0, structure="kernel")
    told: dict[str, Any] = {"every": 2, "stop": 20, "target": 40, "threshold": 0.05, "granularity": "kernel"}
    sparse = so.SparseTraining(model, optimizer, masks, "dsr", **told)
    generator, seen = torch.Generator().manual_seed(1), set()
    for _ in range(12):
        x, y = torch.randn(8, 3, 6, 6, generator=generator), torch.randint(4, (8,), generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        sparse.step()
        for name, mask in sparse.masks.items():
            rows = mask.reshape(*mask.shape[:2], -1)
            assert torch.equal(rows.any(2), rows.all(2)) and not model.get_parameter(name)[~mask].any()
        assert sparse.masks.nonzeros == masks.nonzeros
        seen.add(sparse.masks.digest())
    assert len(seen) > 3


def test_dsr_of_kernels_refuses_a_mask_with_parts_of_kernels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with pytest.raises(UserError, match=r"rule\.dsr\.granularity: moves whole kernels, and the mask of '0\.weight'"):
        so.SparseTraining(model, optimizer, so.make_masks(model, 0.3, seed=0), "dsr", granularity="kernel")


def test_the_plan_refuses_dsr_of_kernels_without_their_structure() -> None:
    def plan(model: str, mask: Any) -> None:
        rule = {"name": "dsr", "granularity": "kernel"}
        raw = {"data": "mnist", "model": model, "mask": mask, "init": "default", "density": 0.3, "rule": rule}
        refuse_unreachable(resolve_cell(raw | {"train": {"epochs": 1}}, "here"), "here")

    plan("lenet300_100", "erk")  # kernels of linear layers are weights
    plan("lenet5", {"name": "uniform", "structure": "kernel"})
    with pytest.raises(UserError, match=r"here\.rule\.granularity: dsr moves whole kernels"):
        plan("lenet5", "uniform")


# --- the layout of convolutions in memory

MORE: dict[str, dict[str, Any]] = {
    "deepr": {"temperature": 0.01, "l1": 1e-2},
    "deepr@as_released": {"temperature": 10.0, "l1": 1e-2},
    "granet": {"density_stop": 6},
}


def convolutional(rule: str, channels_last: bool, masks_too: bool) -> tuple[nn.Module, so.SparseTraining]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 2), nn.ReLU(), nn.Flatten(), nn.Linear(54, 4))
    model = model.double()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    thins = "final_density" in defaults(resolve("rules", rule)) or rule == "n_m"
    masks = dict(so.make_masks(model, 1.0 if thins else 0.3, seed=0))
    if masks_too:
        masks = {n: torch.empty_like(model.get_parameter(n), dtype=torch.bool).copy_(m) for n, m in masks.items()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    lengths = {"every": 3, "stop": 10, "steps": 12, "steps_per_epoch": 4}
    sparse = so.SparseTraining(model, optimizer, masks, rule, **lengths, **MORE.get(rule, {}))
    generator = torch.Generator().manual_seed(1)
    for _ in range(12):
        x = torch.randn(8, 3, 6, 6, generator=generator, dtype=torch.float64)
        y = torch.randint(4, (8,), generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(x.to(memory_format=torch.channels_last) if channels_last else x), y).backward()
        sparse.step()
    return model, sparse


@pytest.mark.parametrize(
    "rule", [n for n in so.available()["rules"] if not literal_of(resolve("rules", n), "PART", "")]
)
def test_rules_do_the_same_in_channels_last(rule: str) -> None:
    """In float64, where the order of a sum changes no choice."""
    plain, sparse = convolutional(rule, False, False)
    for masks_too in (False, True):
        model, laid = convolutional(rule, True, masks_too)
        assert laid.masks.digest() == sparse.masks.digest()
        for one, two in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


# --- dense_exclusion


def with_active(active: int, size: int) -> Layer:
    mask = torch.zeros(1, size, dtype=torch.bool)
    mask[0, :active] = True
    return Layer("a", torch.ones(1, size), mask)


def test_a_layer_is_excluded_at_its_eleventh_update_above_85_percent_if_the_others_can_pay() -> None:
    layers = {"a": with_active(18, 20), "b": with_active(17, 20), "c": with_active(5, 50)}
    seen: dict[str, int] = {}
    assert [exclusion.excluded(seen, layers) for _ in range(12)] == [[]] * 10 + [["a"]] * 2
    assert seen == {"a": 12, "b": 0, "c": 0}, "17 of 20 is not above"
    poor = {"a": with_active(18, 20), "c": with_active(2, 50)}  # 20 in all: nothing would be left for c
    assert exclusion.excluded({"a": 20, "c": 0}, poor) == []
    both = {"a": with_active(18, 20), "b": with_active(20, 20), "c": with_active(2, 50)}  # 40 in all, and b is dense
    assert exclusion.excluded({"a": 11, "b": 15, "c": 0}, both) == ["b"]


def test_an_excluded_layer_is_dense_for_good_and_the_number_of_weights_stays() -> None:
    model = small()
    masks = {name: mask.clone() for name, mask in so.make_masks(model, 0.3, seed=1).items()}
    masks["4.weight"][:] = True
    masks["4.weight"][0, 0] = False  # 23 of 24
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    told: dict[str, Any] = {"every": 1, "stop": 40, "fraction": 0.2, "redistribution": "none", "dense_exclusion": True}
    sparse = so.SparseTraining(model, optimizer, masks, "sparse_momentum", **told)
    total, generator, moved = sum(int(m.sum()) for m in masks.values()), torch.Generator().manual_seed(3), set()
    for step in range(1, 25):
        x = torch.randn(16, 6, generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(x), (x[:, 0] > 0).long() + (x[:, 1] > 0).long()).backward()
        sparse.step()
        assert sparse.masks.nonzeros == total
        assert int(sparse.masks["4.weight"].sum()) == (24 if step > 10 else 23)
        moved.add((step > 10, sparse.masks["2.weight"].numpy().tobytes()))
    assert len([m for m in moved if m[0]]) > 3, "the others still move"


# --- regrown_value: random

VALUES = ("zero", "random")


def test_what_grows_begins_at_random_values_and_nothing_else_moves() -> None:
    rules = {value: Rule("r", "2it", stop="4it", criteria=SWAP, fraction=0.5, regrown_value=value) for value in VALUES}
    found: dict[str, list[torch.Tensor]] = {}
    for value, rule in rules.items():
        for _ in range(2):
            model, sparse = one_layer(rule)
            for _ in range(2):
                feel(model)
                sparse.step()
            found.setdefault(value, []).append(model.weight.detach()[0].clone())
    once, again = found["random"]
    assert torch.equal(once, again)
    assert (once[[3, 6]] != 0).all() and once[3] != once[6]
    assert torch.equal(once[[0, 1, 2, 4, 5, 7]], found["zero"][0][[0, 1, 2, 4, 5, 7]])


@pytest.mark.parametrize(
    ("shape", "deviation"),
    [((200, 400), 1 / 20), ((50, 30, 3, 3), (2 / 450) ** 0.5), ((64, 1, 5, 5), (2 / 1600) ** 0.5)],
)
def test_their_deviation_is_that_of_the_program_of_dsr(shape: tuple[int, ...], deviation: float) -> None:
    """n draws: the mean square is within 5 sqrt(2 / n) of the variance, the mean within 5 / sqrt(n) deviations of 0."""
    weight, where = torch.full(shape, 7.0), torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    fresh.redraw_(weight, where, Streams(3)("rewiring", "a"))
    assert (weight[~where] == 7).all()
    drawn = weight[where].double() / deviation
    n = drawn.numel()
    assert abs(float(drawn.square().mean()) - 1) < 5 * (2 / n) ** 0.5
    assert abs(float(drawn.mean())) < 5 / n**0.5


def test_they_do_not_depend_on_how_a_convolution_lies_in_memory() -> None:
    where = torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    plain, last = torch.zeros(4, 3, 3, 3), torch.zeros(4, 3, 3, 3).to(memory_format=torch.channels_last)
    for weight in (plain, last):
        fresh.redraw_(weight, where, Streams(3)("rewiring", "a"))
    assert torch.equal(plain, last) and plain.any()


@pytest.mark.parametrize("value", VALUES)
def test_dsr_grows_at_zero_or_at_random_values(value: str) -> None:
    rule = load("rules", "dsr")(every="2it", target=40.0, threshold=0.1, stop="99it", regrown_value=value)
    torch.manual_seed(0)
    model = nn.Linear(16, 16)
    masks = so.make_masks(model, 0.5, seed=0)
    sparse = so.SparseTraining(model, torch.optim.SGD(model.parameters(), lr=0.01), masks, rule)
    for _ in range(2):
        model.zero_grad()
        model(torch.randn(4, 16)).square().sum().backward()
        sparse.step()
    active = model.weight.detach()[sparse.masks["weight"]]
    assert sparse.masks.nonzeros == 128
    assert bool((active == 0).any()) == (value == "zero")


# --- path


def test_a_geometric_path_takes_the_same_share_at_every_update() -> None:
    """1024 weights in ten updates to one: half of them leave each time. Linear: 102.3 each time."""
    totals = {}
    for path in ("geometric", "linear"):
        rule = Rule("r", "10it", final_density=1 / 1024, density_stop="100it", criteria=SWAP, path=path)
        times = Timetable.of(rule, None, 1000)
        totals[path] = [times.total(10 * c, 1024, 1024) for c in range(12)]
    assert totals["geometric"] == [1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1, 1]
    assert totals["linear"] == [1024, 922, 819, 717, 615, 513, 410, 308, 206, 103, 1, 1]


def test_gmp_follows_its_path_to_the_final_density() -> None:
    found = load("rules", "gmp")(final_density=0.25, every="1it", start="0it", stop="4it", path="geometric")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    masks = so.make_masks(model, 1.0, seed=0)
    sparse = so.SparseTraining(model, torch.optim.SGD(model.parameters(), lr=0.1), masks, found)
    seen = []
    for _ in range(5):
        model.zero_grad()
        model(torch.randn(4, 16)).square().sum().backward()
        sparse.step()
        seen.append(sparse.masks.nonzeros)
    assert seen == [362, 256, 181, 128, 128]  # 512 / sqrt(2), 512 / 2, ...


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(UserError, match="cubic"):
        Rule("r", "10it", final_density=0.5, density_stop="100it", criteria=SWAP, path="straight")
