"""Rules that are no sequence of criteria, at work: their masks after every step, resumed, skipped steps, ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.registry import load
from sparse_ortho.rewiring.sparse_training import SparseTraining
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.resident import resident
from sparse_ortho.training.rewired import Rewired
from tests.law.rule_runs import (
    KINDS,
    OPTIMIZERS,
    Stop,
    backward,
    batches,
    engine_run,
    everything,
    interrupted,
    refuse_other_masks_of_two_ranks,
    start,
    train,
)
from tests.law.test_training import CPU, FACTS, half_masks, network, toy

SIZE = 103  # of 48, 40 and 15 weights
HALF = 8 * (2 + 2) + 5 * (2 + 2) + 3 * (2 + 1)  # rows of 6, 8 and 5: two of every four, and of a rest of two or one
METHODS: dict[str, dict[str, Any]] = {
    "ac_dc": {"final_density": 0.2, "every": 3, "start": 2, "stop": 12},
    "deepr": {"temperature": 0.5, "l1": 1e-3},
    "deepr@as_released": {"temperature": 10.0, "l1": 1.0},
    "dsr": {"every": 2, "stop": 14, "target": 6, "threshold": 0.02},
    "end_pruning": {"final_density": 0.2, "stop": 5},
    "itop": {"every": 2, "stop": 12},
    "mest": {"every": 3, "stop": 10},
    "n_m": {},
    "srigl": {"every": 2, "stop": 12},
    "tied": {"signs": True},
    "top_kast": {"final_density": 0.2, "every": 3, "stop": 11},
}
DENSE = ("ac_dc", "end_pruning", "n_m", "top_kast")


def fresh(rule: str, kind: str = "sgd", seed: int = 0) -> tuple[nn.Module, SparseTraining]:
    model, optimizer, masks = start(kind, 1.0 if rule in DENSE else 0.4)
    return model, SparseTraining(model, optimizer, masks, rule, seed=seed, steps=16, steps_per_epoch=4, **METHODS[rule])


def path(rule: str) -> list[int]:
    """The number of active weights after each of 16 steps, by hand."""
    kept, last = budget(0.4, SIZE), budget(0.2, SIZE)
    if rule == "ac_dc":  # compressed from 2, dense from 5, compressed from 8, dense from 11, compressed from 12 on
        return [SIZE] + [last] * 3 + [SIZE] * 3 + [last] * 3 + [SIZE] + [last] * 5
    if rule == "end_pruning":
        return [SIZE] * 4 + [last] * 12
    if rule == "mest":  # layers of 16, 17 and 8 weights; fractions 0.14, 0.08 and 0.02 of them, rounded down
        return [kept] * 2 + [kept + 2 + 2 + 1] * 3 + [kept + 1 + 1] * 3 + [kept] * 8
    return [{"n_m": HALF, "tied": SIZE, "top_kast": last}.get(rule, kept)] * 16


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("rule", METHODS)
def test_masked_weights_are_zero_and_the_count_is_the_rules_own_after_every_step(rule: str, kind: str) -> None:
    model, sparse = fresh(rule, kind)
    weights, counts, seen = dict(model.named_parameters()), [], set()
    for x, y in batches(16):
        backward(model, x, y)
        assert sparse.step()
        for name, mask in sparse.masks.items():
            assert not weights[name][~mask].any()
        counts.append(sparse.masks.nonzeros)
        seen.add(sparse.masks.digest())
    assert counts == path(rule)
    assert all(value.isfinite().all() for value in weights.values())
    assert (len(seen) > 1) == (rule != "tied")


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("rule", METHODS)
def test_a_resumed_training_is_the_same_to_the_bit(rule: str, kind: str) -> None:
    model, whole = fresh(rule, kind, 5)
    train(whole, model, 16)
    for cut in (1, 4, 9):
        (second, resumed), _ = interrupted(lambda: fresh(rule, kind, 5), 16, cut)
        assert everything(second, resumed) == everything(model, whole)
        assert resumed.report() == whole.report()


@pytest.mark.parametrize("rule", ["deepr@as_released", "dsr", "n_m", "tied", "top_kast"])
def test_a_step_that_a_scaler_skips_leaves_weights_and_masks_alone(rule: str) -> None:
    """And the steps that it takes are those of a training that never met the overflow."""
    model, sparse = fresh(rule)
    twin, plain = fresh(rule)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=100)
    for number, (x, y) in enumerate(batches(8)):
        model.zero_grad()
        scaler.scale(nn.functional.cross_entropy(model(x), y)).backward()
        if number in (0, 3):
            gradient = model.get_parameter("0.weight").grad
            assert gradient is not None
            gradient[0, 0] = torch.inf
            before = {name: value.clone() for name, value in model.named_parameters()}
            digest = sparse.masks.digest()
            assert not sparse.step(scaler)
            assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
            assert sparse.masks.digest() == digest
        else:
            assert sparse.step(scaler)
            backward(twin, x, y)
            plain.step()
    assert sparse.masks.digest() == plain.masks.digest()
    for one, two in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


# --- in the training loop

TEXT = {"every": "{}it", "start": "{}it", "stop": "{}it"}
ENGINE = {rule: {k: TEXT[k].format(v) if k in TEXT else v for k, v in told.items()} for rule, told in METHODS.items()}


def run(rule: str, stop: int = 0, checkpoint: Checkpointer | None = None, **options: Any) -> tuple[Any, ...]:
    return engine_run(rule, ENGINE[rule], stop, checkpoint, dense=rule in DENSE, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", METHODS)
def test_the_engine_resumes_a_rule_to_the_same_bytes(tmp_path: Path, rule: str, kind: str) -> None:
    whole = run(rule, **KINDS[kind])
    for stop in (4, 3):
        with pytest.raises(Stop):
            run(rule, stop, Checkpointer(tmp_path, 0), **KINDS[kind])
    again = Checkpointer(tmp_path, 0)
    assert run(rule, checkpoint=again, **KINDS[kind]) == whole
    assert again.resumed_at and again.resumed_at >= 5


@pytest.mark.parametrize(
    ("rule", "fact"), [("tied", "free_parameters"), ("itop", "explored"), ("srigl", "empty_units")]
)
def test_a_record_says_what_masks_do_not(rule: str, fact: str) -> None:
    model = network()
    masks, live = half_masks(model), Rewired(load("rules", rule)(**ENGINE[rule]))
    kept = Masks(masks).nonzeros
    given = TrainOptions(epochs=3, batch_size=5, lr=0.05)
    record = train_seed(model, resident(toy(), FACTS, CPU), masks, given, Streams(3), CPU, parts=[live]).record
    weights = sum(weight.numel() for weight in maskable(model).values())
    if rule == "tied":
        assert (record["density"], record["nonzeros"], record[fact]) == (1.0, weights, kept)
    elif rule == "itop":
        assert record["nonzeros"] == kept < record[fact] <= weights
    else:
        assert record[fact] == sum(int((~m.flatten(1).any(1)).sum()) for m in masks.values())


def test_two_ranks_hold_the_masks_of_one(tmp_path: Path) -> None:
    refuse_other_masks_of_two_ranks("deepr", {"temperature": 1e-3, "l1": 1e-2}, tmp_path)


# --- what a caller is told


@pytest.mark.parametrize(
    ("rule", "told", "words"),
    [
        ("dsr", {"target": 0.0}, r"rule\.dsr\.target: out of range .*above 0"),
        ("dsr", {"threshold": -1.0}, r"rule\.dsr\.threshold: out of range .*above 0"),
        ("deepr", {"l1": float("nan")}, r"rule\.deepr\.l1: out of range .*at least 0"),
        ("deepr", {"cooling": "cubic"}, r"rule\.deepr\.cooling: unknown choice"),
        ("deepr", {"cooling": "linear"}, r"rule\.deepr\.cooling: ends with the training; say how many steps"),
        ("srigl", {"gamma": 1.5}, r"rule\.srigl\.gamma: out of range .*\[0, 1\]"),
        ("mest", {"importance": -0.1}, r"rule\.mest\.importance: out of range .*at least 0"),
        ("itop", {"growth": "momentum"}, r"rule\.itop\.growth: unknown choice .*gradient, random"),
        ("top_kast", {"backward": 0.5, "final_density": 0.1}, r"rule\.top_kast\.backward: out of range .*at least 1"),
        ("n_m", {"n": 5}, r"rule\.n_m\.n: is more than m"),
        ("n_m", {}, r"rule\.n_m: keeps 2 of 4 weights \(found 0\.398.*allowed: 1 \(a dense network\) or 0\.5"),
        ("end_pruning", {"final_density": 0.5, "stop": 5}, r"final_density: is above that of the masks"),
    ],
)
def test_mistakes_are_one_sentence(rule: str, told: dict[str, Any], words: str) -> None:
    model, optimizer, masks = start()
    with pytest.raises(UserError, match=words):
        SparseTraining(
            model,
            optimizer,
            masks,
            rule,
            **{"every": 2, "stop": 8, **told} if rule not in ("deepr", "n_m", "end_pruning") else told,
        )


def test_the_ties_of_another_seed_are_refused() -> None:
    state = fresh("tied", seed=1)[1].state_dict()
    with pytest.raises(UserError, match="state: ties the weights of '0.weight' in another way"):
        fresh("tied", seed=2)[1].load_state_dict(state)
