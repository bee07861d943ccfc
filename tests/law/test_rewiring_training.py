"""Rules at work: masked weights are 0 after every step, budgets hold, and a resumed training is the same training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import sparse_ortho as so
from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks
from sparse_ortho.registry import load
from sparse_ortho.rewiring import drops, growth
from sparse_ortho.rewiring.engine import Criteria
from sparse_ortho.rewiring.rule import Rule
from sparse_ortho.rewiring.sparse_training import SparseTraining
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
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
from tests.law.test_training import half_masks, network

FEW: dict[str, dict[str, Any]] = {  # updates every second step, to density 0.2 where a rule thins out
    "dst": {},
    "gmp": {"final_density": 0.2},
    "granet": {"final_density": 0.2, "density_stop": 8},
    "rigl": {},
    "set": {},
    "sparse_momentum": {},
    "static": {},
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("rule", FEW)
def test_masked_weights_are_zero_and_the_budget_is_exact_after_every_step(rule: str, kind: str) -> None:
    model, optimizer, masks = start(kind)
    sparse = SparseTraining(model, optimizer, masks, rule, every=2, stop=12, **FEW[rule])
    weights, counts, moved = dict(model.named_parameters()), [], set()
    for x, y in batches(16):
        backward(model, x, y)
        assert sparse.step()
        for name, mask in sparse.masks.items():
            assert not weights[name][~mask].any()
        counts.append(sparse.masks.nonzeros)
        moved.add(sparse.masks.digest())
    first, last = budget(0.4, 103), budget(0.2, 103)
    if rule in ("gmp", "granet"):
        updates = 4 if rule == "granet" else 6
        path = [last + int((first - last) * (1 - min(c, updates) / updates) ** 3 + 0.5) for c in range(9)]
        assert counts == [path[t // 2] for t in range(1, 17)] and counts[-1] == last
    else:
        assert set(counts) == {first}
    assert (len(moved) > 1) == (rule != "static")


def test_static_masks_are_the_training_with_masks_after_every_step() -> None:
    (model, optimizer, masks), (other, plain, _) = start(), start()
    masks.apply_(other)
    sparse = SparseTraining(model, optimizer, masks, "static")
    train(sparse, model, 5)
    for x, y in batches(5):
        backward(other, x, y)
        plain.step()
        masks.apply_(other)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert sparse.masks.digest() == masks.digest()


# --- what an update does to weights and to the optimizer

SWAP = Criteria(drops.magnitude, growth.gradient)


def one_layer(rule: Rule, kind: str = "sgd") -> tuple[nn.Linear, SparseTraining]:
    """Eight weights of a layer without bias, the first four active, that feel the gradient `slopes`."""
    model = nn.Linear(8, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0]]))
    mask = torch.tensor([[True] * 4 + [False] * 4])
    return model, SparseTraining(model, OPTIMIZERS[kind](model.parameters()), {"weight": mask}, rule)


SLOPES = torch.tensor([[0.1, 0.1, 0.1, 0.4, 0.1, 0.2, 0.5, 0.3]])


def feel(model: nn.Linear, slopes: torch.Tensor = SLOPES) -> None:
    model.zero_grad()
    (model.weight * slopes).sum().backward()


def buffer(sparse: SparseTraining, name: str = "momentum_buffer") -> torch.Tensor:
    (state,) = sparse.optimizer.state.values()
    return state[name].clone()


@pytest.mark.parametrize("regrown", ["zero", "keep"])
def test_a_weight_dropped_and_grown_in_one_update_starts_from_zero_or_keeps_its_value(regrown: str) -> None:
    """Weights 2 and 3 leave; the steepest free places are then 6 and 3."""
    model, sparse = one_layer(Rule("r", "2it", stop="4it", criteria=SWAP, fraction=0.5, regrown_value=regrown))
    for _ in range(2):
        feel(model)
        sparse.step()
    assert sparse.masks["weight"].tolist() == [[True, True, False, True, False, False, True, False]]
    weight = model.weight.detach()[0]
    assert (weight[[2, 4, 5, 6, 7]] == 0).all() and (weight[:2] > 2).all()
    assert (weight[3] != 0) == (regrown == "keep")


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("reset", [True, False])
def test_the_optimizer_forgets_about_grown_weights_if_it_is_told_to(reset: bool, kind: str) -> None:
    rule = Rule("r", "2it", stop="4it", criteria=SWAP, fraction=0.5, momentum_reset=reset)
    model, sparse = one_layer(rule, kind)
    for _ in range(2):
        feel(model)
        sparse.step()
    for key in {"momentum_buffer", "exp_avg", "exp_avg_sq"} & set(next(iter(sparse.optimizer.state.values()))):
        kept = buffer(sparse, key)[0]
        assert (kept[[0, 1, 2, 4, 5, 7]] != 0).all(), "only grown weights are new"
        assert (kept[[3, 6]] == 0).all() == reset


def test_momentum_of_masked_weights_is_dense_or_dropped() -> None:
    for masked in (False, True):
        model, sparse = one_layer(Rule("r", "9it", stop="10it", criteria=SWAP, fraction=0.5, masked_momentum=masked))
        feel(model)
        sparse.step()
        assert buffer(sparse)[0, 4:].tolist() == ([0.0] * 4 if masked else pytest.approx(SLOPES[0, 4:].tolist()))


def test_an_update_may_come_instead_of_a_step() -> None:
    """Then nothing that stays moves: neither weights nor momentum; and the gradient is still there."""
    model, sparse = one_layer(Rule("r", "2it", stop="4it", criteria=SWAP, fraction=0.5, moment="instead_of_step"))
    feel(model)
    sparse.step()
    weight, kept = model.weight.detach().clone(), buffer(sparse)
    feel(model)
    sparse.step()
    assert sparse.report()["updates"] == 1
    assert torch.equal(model.weight.detach()[0, :2], weight[0, :2]) and torch.equal(buffer(sparse), kept)
    assert model.weight.grad is not None and torch.equal(model.weight.grad, SLOPES)
    feel(model)
    sparse.step()
    assert not torch.equal(model.weight.detach()[0, :2], weight[0, :2])


def test_an_update_before_the_step_reads_the_weights_of_before() -> None:
    """A step of -0.1 * 0.9 on the second weight and +2 on the third would turn their order around."""
    slopes = torch.tensor([[0.0, 0.0, 25.0, -25.0, 0.0, 0.1, 0.2, 0.0]])
    for moment, kept in (("before_step", {0, 1, 2, 6}), ("after_step", {0, 1, 3, 6})):
        criteria = Criteria(drops.magnitude, growth.gradient, may_return=False)
        rule = Rule("r", "1it", stop="2it", criteria=criteria, fraction=0.25, moment=moment)
        model, sparse = one_layer(rule)
        feel(model, slopes)
        sparse.step()
        assert set(sparse.masks["weight"][0].nonzero().view(-1).tolist()) == kept, moment


# --- a scaler that skips a step


@pytest.mark.parametrize("moment", ["after_step", "before_step", "instead_of_step"])
def test_a_step_that_a_scaler_skips_moves_neither_clock_nor_mask(moment: str) -> None:
    model, optimizer, masks = start()
    sparse = SparseTraining(model, optimizer, masks, "rigl", every=2, stop=100, moment=moment)
    scaler, taken, digests = torch.amp.GradScaler("cpu", init_scale=8.0), [], []
    for number, (x, y) in enumerate(batches(8)):
        model.zero_grad()
        scaler.scale(cross_entropy(model(x), y)).backward()
        if number in (1, 4):
            gradient = model.get_parameter("0.weight").grad
            assert gradient is not None
            gradient[0, 0] = torch.inf
        if number == 5:
            scaler.unscale_(optimizer)  # as a caller does who clips
        taken.append(sparse.step(scaler))
        digests.append(sparse.masks.digest())
    assert taken == [True, False, True, True, False, True, True, True]
    assert sparse.report()["steps"] == 6 and sparse.report()["updates"] == 3
    moved = [i for i in range(1, 8) if digests[i] != digests[i - 1]]
    assert moved == [2, 5, 7]  # the second, fourth and sixth step that were taken
    assert model.get_parameter("0.weight").isfinite().all()


# --- what a caller is told


def test_report_counts_what_the_last_update_moved() -> None:
    model, sparse = one_layer(Rule("r", "2it", stop="4it", criteria=SWAP, fraction=0.5))
    feel(model)
    sparse.step()
    assert sparse.report()["layers"] == {"weight": {"active": 4, "density": 0.5, "dropped": 0, "grown": 0}}
    feel(model)
    sparse.step()
    found = sparse.report()
    assert found["layers"] == {"weight": {"active": 4, "density": 0.5, "dropped": 2, "grown": 2}}
    assert (found["rule"], found["steps"], found["updates"], found["nonzeros"], found["density"]) == ("r", 2, 1, 4, 0.5)


def refused(match: str, rule: Any = "rigl", **options: Any) -> None:
    model, optimizer, masks = start()
    optimizer = options.pop("optimizer", optimizer)
    with pytest.raises(UserError, match=match):
        so.SparseTraining(options.pop("model", model), optimizer, options.pop("masks", masks), rule, **options)


def test_mistakes_are_one_sentence() -> None:
    model, _, masks = start()
    refused("unknown rule .*did you mean 'rigl'", "rigel")
    refused("unknown option .*did you mean 'fraction'", fracton=0.1)
    refused("rule.rigl.fraction: out of range", fraction="half")
    refused("rule.rigl.every: is in epochs; say how many steps", every="1ep")
    refused("rule.rigl.stop: is a fraction of the training", stop="0.75")
    refused("closure", optimizer=torch.optim.LBFGS(model.parameters()))
    refused("does not train the masked parameter '0.weight'", optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    refused("no parameter '9.weight'", masks={"9.weight": torch.ones(2, 2)})
    refused("final_density: is above that of the masks, 0.398058", "gmp", final_density=0.5)
    refused(
        "rule.sparse_momentum.growth: unknown choice .*did you mean 'momentum'", "sparse_momentum", growth="momntum"
    )


def test_growth_by_momentum_needs_an_optimizer_that_has_some() -> None:
    model, _, masks = start()
    plain = torch.optim.SGD(model.parameters(), lr=0.1)
    sparse = SparseTraining(model, plain, masks, "sparse_momentum", every=1, stop=9)
    with pytest.raises(UserError, match=r"0\.weight: the rule reads momentum, and the optimizer keeps none"):
        train(sparse, model, 1)


def test_lengths_of_time_are_steps_epochs_or_fractions() -> None:
    model, optimizer, masks = start()
    sparse = SparseTraining(model, optimizer, masks, "set", every="1ep", stop="0.5", steps=40, steps_per_epoch=8)
    train(sparse, model, 40)
    assert sparse.report()["updates"] == 2  # after 8 and 16 steps; 24 is past the middle


# --- resume


@pytest.mark.parametrize("rule", ["rigl", "set", "sparse_momentum", "granet"])
@pytest.mark.parametrize("cut", [1, 6, 7])
def test_a_resumed_training_is_the_same_to_the_bit(rule: str, cut: int) -> None:
    def fresh() -> tuple[nn.Module, SparseTraining]:
        model, optimizer, masks = start(density=0.4)
        return model, SparseTraining(model, optimizer, masks, rule, every=3, stop=12, seed=5, **FEW[rule])

    model, whole = fresh()
    train(whole, model, 14)
    (second, resumed), saved = interrupted(fresh, 14, cut)
    assert everything(second, resumed) == everything(model, whole)
    assert resumed.report() == whole.report()
    with pytest.raises(UserError, match="state: belongs to another rule"):
        resumed.load_state_dict(saved | {"rule": "other"})
    with pytest.raises(UserError, match="state: holds masks of other parameters"):
        resumed.load_state_dict(saved | {"masks": {"9.weight": torch.ones(1)}})


ENGINE: dict[str, dict[str, Any]] = {
    "rigl": {"every": "3it"},
    "set": {"every": "2it"},
    "sparse_momentum": {},
    "granet": {"every": "2it", "final_density": 0.2},
    "dst": {"every": "2it", "moment": "before_step"},
}


def run(rule: str, stop: int = 0, checkpoint: Checkpointer | None = None, **options: Any) -> tuple[Any, ...]:
    return engine_run(rule, ENGINE[rule], stop, checkpoint, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", ENGINE)
def test_the_engine_resumes_a_rule_to_the_same_bytes(tmp_path: Path, rule: str, kind: str) -> None:
    whole = run(rule, **KINDS[kind])
    before = half_masks(network())
    assert whole[1] != Masks(before).digest(), "the masks have moved, in the tensors that were handed in"
    total = sum(mask.numel() for mask in before.values())
    kept = budget(0.2, total) if rule == "granet" else Masks(before).nonzeros
    assert whole[4] == kept
    for stop in (4, 3, 5):
        with pytest.raises(Stop):
            run(rule, stop, Checkpointer(tmp_path, 0), **KINDS[kind])
    again = Checkpointer(tmp_path, 0)
    assert run(rule, checkpoint=again, **KINDS[kind]) == whole
    assert again.resumed_at and again.resumed_at >= 9


def test_the_checkpoint_of_a_rule_with_other_options_is_another_runs(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(Stop):
        run("rigl", 7, Checkpointer(tmp_path, 0))
    monkeypatch.setitem(ENGINE, "rigl", {"every": "3it", "fraction": 0.5})
    again = Checkpointer(tmp_path, 0)
    run("rigl", checkpoint=again)
    assert again.resumed_at is None


def test_a_rule_that_would_never_act_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setitem(ENGINE, "rigl", {"every": "12it"})
    with pytest.raises(UserError, match=r"rule\.rigl\.every: no update falls before the end of a training of 15 steps"):
        run("rigl")
    assert run("rigl", epochs=0)[2].count('"steps":0') == 1  # where nothing is trained, nothing is missing


def test_two_ranks_hold_the_masks_of_one(tmp_path: Path) -> None:
    refuse_other_masks_of_two_ranks("rigl", {"every": "2it"}, tmp_path)


def test_a_threshold_is_remembered_over_an_interruption() -> None:
    _, sparse = one_layer(Rule("r", "1it", stop="9it", criteria=Criteria(drops.threshold, growth.random), fraction=0.5))
    for weight in sparse._live.weights.values():
        weight.grad = torch.zeros_like(weight)
    sparse.step()
    _, other = one_layer(sparse._live.rule)
    other.load_state_dict(sparse.state_dict())
    assert other._live.memory == {"threshold": 0.002}


def test_growth_at_random_draws_from_the_stream_of_its_layer_and_step() -> None:
    model, sparse = one_layer(
        Rule("r", "1it", stop="9it", criteria=Criteria(drops.magnitude, growth.random), fraction=0.5)
    )
    for step in (1, 2, 3):
        weight, before = model.weight.detach().clone()[0], sparse.masks["weight"][0].clone()
        sparse._live.rewire(step)
        stay = before.nonzero().view(-1)[weight[before].abs().argsort(descending=True, stable=True)[:2]].tolist()
        free = [i for i in range(8) if i not in stay]
        drawn = Streams(0)("rewiring", f"weight/{step}").choice(6, 2, replace=False)
        expected = {*stay, *(free[i] for i in drawn)}
        assert set(sparse.masks["weight"][0].nonzero().view(-1).tolist()) == expected


def test_growth_at_random_depends_on_the_seed_of_rewiring_alone() -> None:
    def digest(seed: int, fixed: dict[str, int]) -> str:
        model, optimizer, masks = start()
        live = load("rules", "set")(every="1it").begin(
            model, optimizer, masks, Streams(seed, fixed), steps_per_epoch=1, total_steps=9
        )
        for name, weight in live.weights.items():
            weight.grad = torch.zeros_like(weight)
            assert name in masks
        live.rewire(1)
        return live.masks.digest()

    assert digest(0, {}) == digest(0, {}) != digest(1, {})
    assert digest(0, {"rewiring": 7}) == digest(1, {"rewiring": 7})
