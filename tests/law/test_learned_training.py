"""Learned masks in a whole training: exports, records, resumed runs, other numbers and processes, the plan."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sparse_ortho as so
from sparse_ortho.artifacts import canonical, write_tensors
from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.learned.edge_popup import edge_popup
from sparse_ortho.learned.soft_threshold import soft_threshold
from sparse_ortho.masks import Masks
from sparse_ortho.plan.cost import seed_seconds
from sparse_ortho.plan.digest import stage_modules
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.registry import load, load_path
from sparse_ortho.schedules import share
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.resident import resident
from sparse_ortho.training.rewired import Rewired
from sparse_ortho.training.runs import load_run, run_arrays
from tests.law.test_training import CPU, FACTS, half_masks, network, toy

LEVELS: dict[str, Any] = {"final_density": 0.2, "levels": 3, "start_density": 0.4, "shuffle": "weights"}
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "popup": ("edge_popup", {"final_density": 0.3}),
    "levels": ("edge_popup", LEVELS),
    "threshold": ("soft_threshold", {"s_init": -6.0, "s_decay": 0.5}),
    "searched": ("soft_threshold", {"s_init": -6.0, "target_density": 0.3, "probes": 3}),
}
OPTIONS = TrainOptions(epochs=3, batch_size=5, lr=0.05, schedule="cosine")


def part(kind: str, **more: Any) -> Rewired:
    name, options = RULES[kind]
    module = load_path(f"sparse_ortho.learned.{name}:PART")
    return load_path(module)(load("rules", name)(**(options | more)))


def train(kind: str, options: TrainOptions = OPTIONS, parts: Any = (), checkpoint: Any = None, **more: Any) -> Any:
    torch.manual_seed(0)
    model, data = network(width=8), resident(toy(), FACTS, CPU)
    masks, mine = half_masks(model), part(kind, **more)
    outcome = train_seed(model, data, masks, options, Streams(4), CPU, parts=[mine, *parts], checkpoint=checkpoint)
    return outcome, model, masks, mine


@pytest.mark.parametrize("kind", RULES)
def test_the_record_counts_the_masks_of_the_network_that_was_evaluated(kind: str) -> None:
    outcome, model, masks, mine = train(kind)
    weights = {name: p for name, p in model.named_parameters() if name in masks}
    assert outcome.record["status"] == "ok"
    assert outcome.record["nonzeros"] == sum(int((w != 0).sum()) for w in weights.values())
    assert all(torch.equal(masks[name], w != 0) for name, w in weights.items())
    first = half_masks(network(width=8))
    assert all(not (masks[name] & ~first[name]).any() for name in masks)
    if kind == "popup":
        wanted = [min(share(0.3, mask.numel()), int(first[name].sum())) for name, mask in masks.items()]
        assert outcome.record["nonzeros"] == sum(wanted)


@pytest.mark.parametrize("kind", RULES)
def test_the_exported_network_is_the_running_one_bit_for_bit(kind: str, tmp_path: Path) -> None:
    outcome, model, masks, mine = train(kind)
    facts = {"model": {"name": "mlp", "depth": 3, "width": 8}, "shape": FACTS["shape"], "classes": 3}
    write_tensors(tmp_path / "run.safetensors", run_arrays(model, masks) | mine.arrays(), json.loads(canonical(facts)))
    loaded, kept = load_run(tmp_path / "run.safetensors")
    x = torch.rand(20, 1, 2, 3, generator=torch.Generator().manual_seed(3))
    logits = model.eval()(x)
    assert torch.equal(loaded.eval()(x), logits)
    assert kept.digest() == Masks(masks).digest()
    frozen, own = mine.live.freeze()
    plain = network(width=8).eval()
    plain.load_state_dict({**model.state_dict(), **frozen})
    assert torch.equal(plain(x), logits) and own.digest() == kept.digest()
    assert outcome.record["test_loss_last"] == pytest.approx(loss_of(loaded), abs=1e-6)
    thresholds = [name for name in mine.arrays() if name.startswith("learned/threshold/")]
    assert len(thresholds) == (3 if "threshold" in RULES[kind][0] else 0)


def loss_of(model: torch.nn.Module) -> float:
    split = resident(toy(), FACTS, CPU)["test"]
    ((x, y),) = split.slices(1000)
    return float(torch.nn.functional.cross_entropy(model(x).detach(), y))


class StopAt(Part):
    def __init__(self, step: int):
        self.left = step

    def after_step(self, run: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise InterruptedError


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("step", [1, 4, 5, 12, 14])
def test_resumed_is_uninterrupted_bit_for_bit(kind: str, step: int, tmp_path: Path) -> None:
    whole = train(kind)
    with pytest.raises(InterruptedError):
        train(kind, parts=[StopAt(step + 1)], checkpoint=Checkpointer(tmp_path, 0))
    checkpoint = Checkpointer(tmp_path, 1e9)
    again = train(kind, parts=[StopAt(999)], checkpoint=checkpoint)
    assert checkpoint.resumed_at == step
    assert canonical(again[0].record) == canonical(whole[0].record) and again[0].curves == whole[0].curves
    arrays = [run_arrays(model, masks) | mine.arrays() for _, model, masks, mine in (whole, again)]
    assert arrays[0].keys() == arrays[1].keys()
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])


def test_a_training_told_otherwise_is_another_one(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        train("popup", parts=[StopAt(3)], checkpoint=Checkpointer(tmp_path, 0))
    checkpoint = Checkpointer(tmp_path, 1e9)
    train("popup", parts=[StopAt(999)], checkpoint=checkpoint, outside="identity")
    assert checkpoint.resumed_at is None


def test_the_best_of_a_search_is_the_training_that_follows_and_disturbs_nothing() -> None:
    _, model, masks, mine = train("searched")
    found = {name.rpartition("/")[2]: float(value[0]) for name, value in mine.arrays().items()}
    assert Masks(masks).density == found["found_density"]
    twin = train("searched", target_density=0.0, s_decay=found["found_s_decay"])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin[1].parameters(), strict=True))


def test_shorter_probes_have_the_same_decay_in_all() -> None:
    outcome, _, _, mine = train("searched", OPTIONS, probe_epochs=1, probes=4)
    assert outcome.record["epochs"] == 3 and outcome.record["status"] == "ok"
    assert mine.arrays()["learned/found_s_decay"][0] == mine.arrays()["learned/s_decay"][0]


@pytest.mark.parametrize("kind", ["popup", "threshold"])
@pytest.mark.parametrize(
    "options",
    [{"clip_norm": 0.05}, {"precision": "bf16"}, {"precision": "fp16"}, {"optimizer": "adam"}, {"channels_last": True}],
    ids=str,
)
def test_every_kind_of_step_moves_learned_masks(kind: str, options: dict[str, Any]) -> None:
    outcome, model, masks, mine = train(kind, TrainOptions(epochs=2, batch_size=5, lr=0.05, **options))
    assert outcome.record["status"] == "ok" and mine.live.steps > 0
    start = half_masks(network(width=8))
    assert all(not model.get_parameter(name)[~mask].any() for name, mask in masks.items())
    latent = train(kind, TrainOptions(epochs=0, batch_size=5))[3].live.latent
    assert any(not torch.equal(value, latent[name]) for name, value in mine.live.latent.items())
    assert start.keys() == masks.keys()


def test_clipping_is_over_the_gradients_that_the_optimizer_sees() -> None:
    """With a bound of 1e-6 SGD without momentum and decay moves all scores together by lr times that in a step."""
    plain = {"momentum": 0.0, "weight_decay": 0.0, "lr": 1.0, "schedule": "constant", "clip_norm": 1e-3}
    first = train("popup", TrainOptions(epochs=0, batch_size=23))[3].live.latent
    last = train("popup", TrainOptions(epochs=1, batch_size=23, **plain))[3].live.latent
    moved = torch.cat([(last[n] - first[n]).detach().flatten() for n in first])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-2)


def test_a_mean_of_the_weights_keeps_the_masks_of_soft_thresholds() -> None:
    _, model, masks, _ = train("threshold", TrainOptions(epochs=2, batch_size=5, lr=0.05, ema=0.9))
    assert all(not model.get_parameter(name)[~mask].any() for name, mask in masks.items())


# --- sparse to sparse


@pytest.mark.parametrize("rule", ["gmp", "granet", "ac_dc", "edge_popup", "soft_threshold"])
def test_what_a_random_mask_leaves_out_never_comes_back(rule: str) -> None:
    torch.manual_seed(0)
    model = network(width=16)
    masks = so.make_masks(model, 0.5, layers="balanced", seed=0)
    frame = {name: mask.clone() for name, mask in masks.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    options: dict[str, Any] = {"s_init": -4.0, "s_decay": 0.3} if rule == "soft_threshold" else {"final_density": 0.1}
    options |= {"gmp": {"every": 2, "stop": 16}, "ac_dc": {"every": 4, "stop": 16, "start": 4}}.get(rule, {})
    if rule == "granet":
        options |= {"every": 2, "stop": 16, "density_stop": 10, "within": "start"}
    sparse = so.SparseTraining(model, optimizer, masks, rule, **options)
    came = {name: torch.zeros_like(mask) for name, mask in frame.items()}
    before = {name: mask.clone() for name, mask in frame.items()}
    generator, counts = torch.Generator().manual_seed(0), []
    for _ in range(20):
        x = torch.rand(8, 1, 2, 3, generator=generator)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), (x.mean((1, 2, 3)) > 0.5).long()).backward()
        sparse.step()
        for name, mask in frame.items():
            assert not (sparse.masks[name] & ~mask).any() and not model.get_parameter(name)[~mask].any()
            came[name] |= sparse.masks[name] & ~before[name]
            before[name].copy_(sparse.masks[name])
        counts.append(sparse.masks.nonzeros)
    assert counts[-1] < 0.6 * sum(int(mask.sum()) for mask in frame.values())
    if rule != "soft_threshold":  # which may let them return, and has no need to here
        assert any(bool(mask.any()) for mask in came.values()) == (rule != "gmp")
    if rule in ("gmp", "granet", "ac_dc"):
        assert counts[-1] == budget(0.1, sparse.masks.size)


def test_granet_leaves_its_first_mask_unless_it_is_told_to_stay_within() -> None:
    left = {}
    for within in ("anywhere", "start"):
        torch.manual_seed(0)
        model = network(width=16)
        frame = so.make_masks(model, 0.5, layers="uniform", seed=0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        options = {"final_density": 0.3, "every": 2, "stop": 12, "density_stop": 6, "within": within}
        sparse = so.SparseTraining(model, optimizer, frame, "granet", **options)
        generator = torch.Generator().manual_seed(0)
        for _ in range(12):
            x = torch.rand(8, 1, 2, 3, generator=generator)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), (x.mean((1, 2, 3)) > 0.5).long()).backward()
            sparse.step()
        first = so.make_masks(model, 0.5, layers="uniform", seed=0)
        left[within] = sum(int((sparse.masks[name] & ~first[name]).sum()) for name in first)
        assert sparse.masks.nonzeros == budget(0.3, first.size)
    assert left["anywhere"] > 0 and left["start"] == 0


# --- public loop


@pytest.mark.parametrize("rule", ["edge_popup", "soft_threshold"])
def test_a_loop_of_ones_own_saves_and_loads(rule: str) -> None:
    def begun() -> tuple[torch.nn.Module, Any]:
        torch.manual_seed(0)
        model = network(width=8)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        options: dict[str, Any] = {"s_init": -5.0} if rule == "soft_threshold" else {"final_density": 0.2}
        return model, so.SparseTraining(model, optimizer, half_masks(model), rule, **options)

    def steps(model: torch.nn.Module, sparse: Any, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(4):
            x = torch.rand(8, 1, 2, 3, generator=generator)
            sparse.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), (x.mean((1, 2, 3)) > 0.5).long()).backward()
            assert sparse.step()

    model, sparse = begun()
    steps(model, sparse, 1)
    saved = copy.deepcopy((model.state_dict(), sparse.optimizer.state_dict(), sparse.state_dict()))
    steps(model, sparse, 2)
    other, again = begun()
    other.load_state_dict(saved[0])
    again.optimizer.load_state_dict(saved[1])
    again.load_state_dict(saved[2])
    steps(other, again, 2)
    assert again.masks.digest() == sparse.masks.digest() and again.report() == sparse.report()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    with pytest.raises(UserError, match="belongs to another rule"):
        again.load_state_dict({**saved[2], "rule": "rigl"})


# --- the plan

RAW: dict[str, Any] = {"data": "digits", "model": "lenet300_100", "mask": "erk", "init": "kaiming", "density": 0.5}


def test_code_of_one_learned_mask_is_no_code_of_another_nor_of_rules() -> None:
    def modules(rule: str | None) -> set[str]:
        methods = resolve_cell(RAW | {"rule": rule}, "here").nodes["train"].methods
        found = stage_modules("train", methods)
        return {n for n in found if "learned" in n or "thresholded" in n or n.startswith("sparse_ortho.rewiring")}

    popup, threshold = modules("edge_popup"), modules("soft_threshold")
    assert modules(None) == set() and not {n for n in modules("rigl") if "rewiring" not in n}
    assert "sparse_ortho.learned.popup" in popup - threshold and "sparse_ortho.learned.search" in threshold - popup
    assert {"sparse_ortho.learned.latent", "sparse_ortho.training.learned"} <= popup & threshold
    assert not {n for n in popup | threshold if "rewiring" in n}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rule": {"name": "edge_popup", "final_density": 0.6}}, "final_density: is above the cell's density, 0.5"),
        ({"rule": "edge_popup", "train": {"ema": 0.9}}, "edge_popup and train.ema: a mean of subnetworks"),
        ({"rule": {"name": "edge_popup", "levels": 0}}, "here.rule.levels: must be at least 1"),
        ({"rule": {"name": "edge_popup", "levels": 2, "start_density": 0.1}}, "start_density: is below final_density"),
        ({"rule": {"name": "edge_popup", "start_density": 2.0}}, "here.rule.start_density: out of range"),
        ({"rule": {"name": "soft_threshold", "target_density": 2.0}}, "here.rule.target_density: out of range"),
        ({"rule": {"name": "soft_threshold", "target_density": 0.1, "probes": 0}}, "here.rule.probes: must be above 0"),
        ({"rule": {"name": "soft_threshold", "s_decay": -1.0}}, "here.rule.s_decay: must be at least 0"),
        (
            {"rule": {"name": "soft_threshold", "target_density": 0.1}, "train": {"ranks": 2}},
            "here.rule.target_density: is looked for by one process",
        ),
    ],
)
def test_the_plan_refuses_in_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        resolve_cell(RAW | change, "here")


def test_the_nominal_cost_counts_the_trainings_of_a_search() -> None:
    def cost(**options: Any) -> float:
        rule = {"name": "soft_threshold", **options}
        return seed_seconds(resolve_cell(RAW | {"rule": rule}, "here").nodes["train"], "cpu")

    assert cost(target_density=0.1, probes=5) == pytest.approx(6 * cost()) and cost(probes=5) == cost() > 0


@pytest.mark.parametrize("rule", ["edge_popup", "soft_threshold"])
def test_a_dense_network_is_a_frame_too(rule: str) -> None:
    raw = RAW | {"mask": "dense", "density": 1, "rule": rule}
    assert resolve_cell(raw, "here").id.startswith(f"digits-lenet300_100-dense-kaiming-{rule}-d1-")


def test_methods_say_what_they_are() -> None:
    assert edge_popup().text() != edge_popup(rank="signed").text()
    assert soft_threshold().name == "soft_threshold"
