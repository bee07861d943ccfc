"""Tickets: which weights a level keeps, and what goes back, on vectors written out and against trainings by hand."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparse_ortho.artifacts import read_facts, read_tables, read_tensors
from sparse_ortho.densities.erk import erk
from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.probe import Probe
from sparse_ortho.stages import single
from sparse_ortho.stages.bundle import Context
from sparse_ortho.stages.ticketing import drawn
from sparse_ortho.store import Store
from sparse_ortho.streams import Streams
from sparse_ortho.tickets.fresh import of_level
from sparse_ortho.tickets.pruning import prunable, pruned, shared
from sparse_ortho.tickets.resets import masked, restarted
from sparse_ortho.training.early import KeptEarly
from sparse_ortho.training.parts import Part
from tests.law.test_training import network, train

YES, NO = True, False


def probe(**weights: Any) -> Probe:
    return Probe(nn.Identity(), {name: torch.tensor(value) for name, value in weights.items()})


def best(active: dict[str, Any], counts: Any, **weights: Any) -> dict[str, list[bool]]:
    marks = {name: torch.tensor(mask) for name, mask in active.items()}
    left = {name: torch.tensor(value) * marks[name] for name, value in weights.items()}
    kept = pruned(Probe(nn.Identity(), left), marks, counts, Streams(0), "magnitude", {})
    return {name: mask.tolist() for name, mask in kept.items()}


# which weights stay --------------------------------------------------------------------------------------------------


def test_the_smallest_magnitudes_of_those_that_are_left_go() -> None:
    weights = [0.5, -0.9, 0.1, -0.2, 0.8, -0.05, 0.0, 0.3]
    active = [YES, YES, YES, YES, NO, YES, YES, NO]  # 0.8 and 0.3 have been pruned before: nothing comes back
    assert best({"a": active}, 3, a=weights) == {"a": [YES, YES, NO, YES, NO, NO, NO, NO]}


def test_a_weight_that_is_exactly_0_is_left_like_any_other() -> None:
    """A mask made from w != 0 would lose it for ever, and count wrongly."""
    assert best({"a": [YES] * 4}, 3, a=[0.0, 0.2, 0.0, -0.1]) == {"a": [YES, YES, NO, YES]}


def test_all_layers_compete_or_each_has_its_own_number() -> None:
    weights = {"a": [4.0, 3.0, 2.0, 1.0], "b": [0.4, 0.3, 0.2, 0.1]}
    active = {"a": [YES] * 4, "b": [YES] * 4}
    assert best(active, 5, **weights) == {"a": [YES] * 4, "b": [YES, NO, NO, NO]}
    counts = {"a": 2, "b": 3}
    assert best(active, counts, **weights) == {"a": [YES, YES, NO, NO], "b": [YES, YES, YES, NO]}


def marks(**left: tuple[int, int]) -> dict[str, torch.Tensor]:
    return {name: torch.arange(size) < count for name, (count, size) in left.items()}


def test_counts_are_those_of_the_formula() -> None:
    active = marks(a=(10, 20), b=(5, 20))
    told: dict[str, Any] = {"layers": "global", "scheme": None}
    assert shared(active, rate=0.5, density=None, **told) == 8  # 7.5 + 0.5
    assert shared(active, rate=0.2, density=None, **told) == 12
    assert shared(active, rate=None, density=0.3, **told) == 12  # of the 40, not of the 25
    told["layers"] = "each"
    assert shared(active, rate=0.5, density=None, **told) == {"a": 5, "b": 3}  # 2.5 + 0.5
    assert shared(active, rate=None, density=0.25, **told) == {"a": 7, "b": 3}  # 10 : 5 of ten, by largest remainder
    with pytest.raises(UserError, match=r"ticket.density: is above the 0.375 that is left to prune"):
        shared(active, rate=None, density=0.7, **told)


@given(st.integers(1, 10**6), st.integers(1, 99))
def test_a_rate_is_exact_in_decimals(left: int, percent: int) -> None:
    active = {"a": torch.ones(left, dtype=torch.bool)}
    found = shared(active, rate=percent / 100, density=None, layers="global", scheme=None)
    assert found == max(1, math.floor(Fraction(100 - percent, 100) * left + Fraction(1, 2)))


def test_sixteen_levels_are_the_published_ladder() -> None:
    left, found = 11_159_232, []  # the convolution weights of ToST's ResNet-18
    for _ in range(16):
        active = {"a": torch.ones(1, dtype=torch.bool).expand(left)}
        left = shared(active, rate=0.2, density=None, layers="global", scheme=None)
        assert isinstance(left, int)
        found.append(round(100 * (1 - left / 11_159_232)))
    assert found == [20, 36, 49, 59, 67, 74, 79, 83, 87, 89, 91, 93, 95, 96, 96, 97]  # it writes 94, 95 for 94.5, 95.6


def test_a_density_scheme_gives_counts_as_far_as_a_layer_has_weights_left() -> None:
    active = {"a": torch.ones(40, 10, dtype=torch.bool), "b": torch.arange(100).view(10, 10) < 20}
    counts = shared(active, rate=0.5, density=None, layers="erk", scheme=erk)
    # ERK alone would give the two layers in proportion to 50 and 20: 150 and 60 of 210
    assert counts == {"a": 190, "b": 20}


def test_random_masks_of_a_ladder_are_nested_and_uniform() -> None:
    active, streams = {"a": torch.ones(30, 30, dtype=torch.bool)}, Streams(3)
    hits, draws = torch.zeros(30, 30), 400
    for seed in range(draws):
        first = pruned(probe(a=[[1.0] * 30] * 30), active, 450, of_level(Streams(seed), 1), "random", {})
        second = pruned(probe(a=[[1.0] * 30] * 30), first, 225, of_level(Streams(seed), 2), "random", {})
        assert not bool((second["a"] & ~first["a"]).any()) and int(second["a"].sum()) == 225
        hits += second["a"]
    expected, variance = draws / 4, draws * 3 / 16
    chi = float(((hits - expected) ** 2).sum()) / variance  # about 900 degrees of freedom
    assert abs(chi - 900) < 4 * math.sqrt(2 * 900)
    again = pruned(probe(a=[[1.0] * 30] * 30), active, 450, of_level(streams, 2), "random", {})
    other = pruned(probe(a=[[1.0] * 30] * 30), active, 450, of_level(streams, 1), "random", {})
    assert not torch.equal(again["a"], other["a"]), "levels draw from streams of their own"


def test_a_score_in_rounds_ends_at_the_count_and_brings_nothing_back() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 4, bias=False))
    weights = {name: weight.detach() for name, weight in maskable(model).items()}
    active = {name: torch.rand(weight.shape) < 0.7 for name, weight in weights.items()}
    left = {name: weight * active[name] for name, weight in weights.items()}
    kept = pruned(Probe(model, left, shape=(6,)), active, 12, Streams(0), "synflow", {"rounds": 5})
    assert sum(int(mask.sum()) for mask in kept.values()) == 12
    assert not any(bool((kept[name] & ~active[name]).any()) for name in kept)
    # in float64 by hand: five rounds down 12/n to the power r/5, the flow of what is left anew in each
    a, b = (weight.double().abs().numpy() for weight in weights.values())
    m, n = (mask.numpy() for mask in active.values())
    size = int(m.sum() + n.sum())
    for r in range(1, 6):
        wa, wb = a * m, b * n
        flows = [wa * wb.sum(0)[:, None], wb * wa.sum(1)[None, :]]
        fewer = 12 if r == 5 else max(12, math.floor(size * (12 / size) ** (r / 5) + 0.5))
        flat = np.concatenate([flow[mask] for flow, mask in zip(flows, (m, n), strict=True)])
        least = np.sort(flat)[len(flat) - fewer]
        m, n = (mask & (flow >= least) for flow, mask in zip(flows, (m, n), strict=True))
    assert [mask.tolist() for mask in kept.values()] == [m.tolist(), n.tolist()]


def test_which_tensors_are_pruned() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    assert list(prunable(model, "all", ())) == ["0.weight", "1.weight", "4.weight"]
    assert list(prunable(model, "conv", ())) == ["0.weight", "1.weight"]
    assert list(prunable(model, "all", ("first", "last"))) == ["1.weight"]
    assert list(prunable(model, "all", ("1.*",))) == ["0.weight", "4.weight"]
    with pytest.raises(UserError, match="no weight of this network is left to prune"):
        prunable(model, "conv", ("0.weight", "1.weight"))


# what goes back ------------------------------------------------------------------------------------------------------


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 1), nn.BatchNorm1d(1)


TRAINED = {"layer.weight": [1.0, -2.0, 3.0, -4.0], "layer.bias": [5.0], "norm.weight": [6.0], "norm.running_var": [7.0]}
POINT = {"layer.weight": [-0.1, 0.2, 0.3, 0.4], "layer.bias": [0.5], "norm.weight": [0.6], "norm.running_var": [0.7]}
AFTER = {
    "all": ([-0.1, 0.2, 0.3, 0.4], [0.5], [0.6], [0.7]),
    "amplitudes": ([0.1, -0.2, 0.3, -0.4], [5.0], [6.0], [7.0]),  # |point| with the trained signs
    "signs": ([-1.0, 2.0, 3.0, 4.0], [5.0], [6.0], [7.0]),  # |trained| with the signs of the point
    "norm": ([1.0, -2.0, 3.0, -4.0], [5.0], [0.6], [0.7]),
    "nothing": ([1.0, -2.0, 3.0, -4.0], [5.0], [6.0], [7.0]),
}


@pytest.mark.parametrize("reset", AFTER)
def test_resets(reset: str) -> None:
    trained, point = ({name: torch.tensor(v) for name, v in state.items()} for state in (TRAINED, POINT))
    found = restarted(trained, point, reset, Tiny(), {"layer.weight": None})
    assert found.keys() == trained.keys()
    for value, expected in zip(found.values(), AFTER[reset], strict=True):
        assert torch.equal(value, torch.tensor(expected))


def test_pruned_weights_are_exactly_0_also_where_they_are_not_finite() -> None:
    state = {"w": torch.tensor([math.nan, -1.0, math.inf, 2.0]), "b": torch.tensor([3.0])}
    found = masked(state, {"w": torch.tensor([NO, YES, NO, YES])})
    assert found["w"].tolist() == [0.0, -1.0, 0.0, 2.0] and found["b"].tolist() == [3.0]
    assert not math.copysign(1, found["w"][0].item()) < 0


# early in a training -------------------------------------------------------------------------------------------------


class Watching(Part):
    """Every state that a training goes through."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def begin(self, run: Any) -> None:
        self.after_step(run)

    def after_step(self, run: Any) -> None:
        self.seen.append({name: value.clone() for name, value in run.model.state_dict().items()})


@pytest.mark.parametrize(("at", "step"), [("0it", 0), ("1it", 1), ("7it", 7), ("1ep", 5), ("2ep", 10), ("0.2", 3)])
def test_early_weights_are_those_of_the_whole_training(at: str, step: int) -> None:
    watching, part = Watching(), KeptEarly(at)
    train(parts=(watching,), schedule="cosine")  # five steps an epoch, three epochs
    outcome, _ = train(parts=(part,), schedule="cosine")
    assert len(watching.seen) == 16
    assert part.kept.keys() == watching.seen[step].keys()
    assert all(torch.equal(part.kept[name], value) for name, value in watching.seen[step].items())
    assert len(outcome.curves) == 1 + max(1, -(-step // 5)), "the rest of the training is left out"


def test_a_point_after_the_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"ticket.rewind: is after the end of a training of 15 steps"):
        train(parts=(KeptEarly("16it"),))


# the whole stage -----------------------------------------------------------------------------------------------------

RAW = {
    "data": "digits",
    "model": {"name": "mlp", "depth": 3, "width": 16, "activation": "relu"},
    "init": "kaiming",
    "train": {"epochs": 2, "batch_size": 256, "lr": 0.1},
}
LT, ER = {"ticket": {"levels": 2, "rate": 0.5}}, {"mask": "erk", "density": 0.5}
SIZE = 64 * 16 + 16 * 16 + 16 * 10


class Runs:
    """Cells run one by one in a folder of their own, with one store."""

    def __init__(self, folder: Path):
        self.folder, self.context = folder, Context(Store(folder / "store"), lambda line: None, 1e9)

    def __call__(self, **cell: Any) -> dict[int, tuple[dict[str, np.ndarray], dict[str, Any]]]:
        """Level -> tensors and row of a run; the last one is the trained network and its record."""
        resolved = resolve_cell(RAW | cell, "here")
        path = single.main(resolved, [0], Plan({"device": "cpu"}), self.context)
        found = {}
        for file in sorted(path.parent.glob("*.safetensors")):
            for identity, entry in read_facts(file)["cells"].items():
                if "layers" in (row := entry["seeds"]["0"]["row"]):
                    found[identity] = (read_tensors(file, f"{identity}/0/")[0], row)
        return {row.get("level", 0): (arrays, row) for arrays, row in found.values()} | {
            99: ({}, read_tables([path])[0])
        }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("tickets")
    patch.chdir(folder)
    before = dict(os.environ)
    yield Runs(folder)
    patch.undo()
    os.environ.clear()  # a run sets up the environment of its jobs, and these run in this process
    os.environ.update(before)


def masks_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix("masks/"): value for name, value in arrays.items() if name.startswith("masks/")}


def same(arrays: dict[str, np.ndarray], start: dict[str, np.ndarray]) -> None:
    """Everything is as at the start, bit for bit, and 0 where a mask is."""
    masks = masks_of(arrays)
    for name, value in start.items():
        kind, _, plain = name.partition("/")
        if kind == "weights":
            kept = masks.get(plain, np.ones(value.shape, dtype=bool))
            assert arrays[name][kept].tobytes() == value[kept].tobytes() and not arrays[name][~kept].any()


def trained(runs: Runs, **cell: Any) -> dict[str, np.ndarray]:
    """What stage `train` has put into the store for a cell."""
    wanted = f'"cell": "{resolve_cell(RAW | cell, "here").id}"'
    found = [path.parent.name for path in runs.folder.glob("store/train/*/*/entry.json") if wanted in path.read_text()]
    (key,) = found
    result = runs.context.store.get("train", key)
    assert result
    return dict(result.tensors)


@pytest.mark.parametrize("start", [{}, ER])
def test_rewound_weights_are_those_of_the_initialisation_and_masks_are_nested(runs: Runs, start: Any) -> None:
    found = runs(**start, **LT)
    first = SIZE if not start else SIZE // 2
    counts = [first, (first + 1) // 2, ((first + 1) // 2 + 1) // 2]
    before = masks_of(found[0][0])
    for level in (1, 2):
        arrays, row = found[level]
        masks = masks_of(arrays)
        same(arrays, found[0][0])
        assert sum(int(mask.sum()) for mask in masks.values()) == row["kept"] == counts[level]
        assert all(not (mask & ~before.get(name, np.ones(1, bool))).any() for name, mask in masks.items())
        before = masks
    record = found[99][1]
    assert (record["nonzeros"], record["weights"]) == (counts[2], SIZE)


def test_a_level_prunes_what_training_made_small(runs: Runs) -> None:
    """By hand: the result of stage `train` for the level below, out of the store, and a sort."""
    found = runs(**LT)
    ended = trained(runs)
    weights = {name: np.abs(ended[f"weights/{name}"]) for name in masks_of(found[1][0])}
    together = np.sort(np.concatenate([w.ravel() for w in weights.values()]))
    least = together[-found[1][1]["kept"]]
    for name, mask in masks_of(found[1][0]).items():
        assert np.array_equal(mask, weights[name] >= least)


def test_early_rewinding_goes_to_the_weights_of_that_step_at_every_level(runs: Runs) -> None:
    early = runs(ticket=LT["ticket"] | {"rewind": "1ep"})
    plain = runs(**LT)
    assert not np.array_equal(early[1][0]["weights/layers.0.weight"], plain[1][0]["weights/layers.0.weight"])
    for name, mask in masks_of(early[1][0]).items():
        assert np.array_equal(mask, masks_of(plain[1][0])[name]), "the same dense network has been trained"
        nested = early[1][0][f"weights/{name}"] * masks_of(early[2][0])[name]
        assert np.array_equal(early[2][0][f"weights/{name}"], nested)
    one = {"train": RAW["train"] | {"epochs": 1}}  # its only epoch is at the full rate, as the first one of two
    runs(**one)
    same(early[1][0], trained(runs, **one))


def test_what_stays_as_trained_and_what_goes_back(runs: Runs) -> None:
    long = {"train": RAW["train"] | {"epochs": 20, "batch_size": 64}}  # so that signs change
    start = runs(**LT, **long)[0][0]
    kept = runs(ticket=LT["ticket"] | {"reset": "nothing"}, **long)[1][0]
    for reset in ("amplitudes", "signs"):
        arrays = runs(ticket=LT["ticket"] | {"reset": reset}, **long)
        for level in (1, 2):
            tensors = arrays[level][0]
            for name, mask in masks_of(tensors).items():
                weight, init = tensors[f"weights/{name}"][mask], start[f"weights/{name}"][mask]
                if reset == "amplitudes":
                    assert np.array_equal(np.abs(weight), np.abs(init))
                else:
                    assert np.array_equal(np.signbit(weight), np.signbit(init))
        name = "weights/layers.0.weight"
        mask = masks_of(kept)["layers.0.weight"]
        one, other = (np.signbit, np.abs) if reset == "amplitudes" else (np.abs, np.signbit)
        assert np.array_equal(one(arrays[1][0][name][mask]), one(kept[name][mask]))
        assert not np.array_equal(other(arrays[1][0][name][mask]), other(kept[name][mask]))


def test_masks_of_another_ladder_with_weights_of_its_own(runs: Runs) -> None:
    theirs = runs(**LT)[2][0]
    ticket = LT["ticket"] | {"kind": "reinit", "masks_of": {"ticket.kind": "lt"}}
    cell = resolve_cell(RAW | {"ticket": ticket}, "here")
    runs(ticket=ticket)
    file = max(Path("results", "runs", cell.id).glob("ticket*.safetensors"))
    ours = read_tensors(file, f"{cell.nodes['init'].id}/0/")[0]
    for name, mask in masks_of(theirs).items():
        assert np.array_equal(masks_of(ours)[name], mask)
        weight = ours[f"weights/{name}"]
        assert not weight[~mask].any() and weight[mask].all()
        assert not (weight[mask] == theirs[f"weights/{name}"][mask]).any(), "drawn anew"
    # kaiming: N(0, 2 / fan-in); of 64 inputs a standard deviation of 0.177
    drawn_weights = ours["weights/layers.0.weight"][masks_of(ours)["layers.0.weight"]]
    assert abs(drawn_weights.std() / math.sqrt(2 / 64) - 1) < 4 / math.sqrt(2 * drawn_weights.size)


def test_reinit_is_refused_where_an_initialisation_moves_the_masks(runs: Runs) -> None:
    with pytest.raises(UserError, match="reinit keeps the masks, and eoi moves them"):
        runs(**ER, init="eoi", ticket={"levels": 1, "kind": "reinit"})


def test_masks_that_keep_what_a_network_never_had_are_refused(runs: Runs) -> None:
    with pytest.raises(UserError, match="keep weights that this network has never had"):
        runs(**ER, ticket={"levels": 1, "masks_of": {"mask": "dense", "density": 1}})


def test_weights_that_a_rule_brings_back_go_back_to_the_initialisation(runs: Runs) -> None:
    """At level 2 a weight is active that was pruned at level 1 and grew again: it is neither 0 nor another's."""
    rule = {"name": "rigl", "every": "10it", "stop": "0.3"}
    whole = {"mask": "erk", "density": 1.0, "train": RAW["train"] | {"epochs": 20, "batch_size": 64}}
    found = runs(**whole, rule=rule, ticket={"levels": 2, "rate": 0.5})
    one, two = masks_of(found[1][0]), masks_of(found[2][0])
    back = {name: two[name] & ~one[name] for name in one}
    assert sum(int(mask.sum()) for mask in back.values()) > 0
    for name, mask in back.items():
        assert np.array_equal(found[2][0][f"weights/{name}"][mask], found[0][0][f"weights/{name}"][mask])


def test_a_diverged_level_is_told_at_the_levels_above(runs: Runs) -> None:
    with pytest.raises(UserError, match=r"level 0: .* loss not finite"):
        runs(train=RAW["train"] | {"lr": 1e30}, ticket={"levels": 2})


def test_negative_weights_get_their_gradient() -> None:
    """The released script masks gradients by w < 1e-6 without a magnitude, and its negative weights drift to 0."""
    model = network(width=16)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    tensors = {"init": {f"weights/{name}": value.numpy() for name, value in weights.items()}}
    spec = {
        "model": {"name": "mlp", "depth": 3, "width": 16},
        "shape": [1, 2, 3],
        "classes": 3,
        "level": 1,
        "ticket": {"score": {"name": "random"}, "rate": 0.5},
    }
    ticket = drawn(spec, Streams(0), tensors, lambda: ({}, {}))
    masks = {name: torch.from_numpy(mask) for name, mask in masks_of(dict(ticket.tensors)).items()}
    start = {n: torch.from_numpy(np.array(ticket.tensors[f"weights/{n}"])).reshape(v.shape) for n, v in weights.items()}
    model.load_state_dict(start)
    _, after = train(model, masks, epochs=20, optimizer="adam", lr=1.2e-3, weight_decay=1e-4, schedule="constant")
    moved = dict(after.named_parameters())
    for name, mask in masks.items():
        negative, positive = mask & (start[name] < 0), mask & (start[name] > 0)
        assert negative.any() and positive.any()
        steps = {sign: (moved[name] - start[name]).detach()[chosen] for sign, chosen in
                 (("negative", negative), ("positive", positive))}  # fmt: skip
        assert all(bool((step != 0).all()) for step in steps.values())
        # Adam's steps are of one size: what only the decay moves goes up by lr a step, 0.12 in all
        upwards = float((steps["negative"] > 0).float().mean())
        assert upwards < 0.9, "they follow the loss, which pushes some of them further down"
        assert not bool(moved[name].detach()[~mask].any())
