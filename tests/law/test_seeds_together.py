"""Seeds trained side by side leave, byte for byte, what each leaves alone; and what cannot be so trained is not."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparse_ortho.artifacts import canonical, write_tensors
from sparse_ortho.devices import prepare
from sparse_ortho.errors import UserError
from sparse_ortho.models.lenet import lenet300_100
from sparse_ortho.models.mlp import MLP, mlp
from sparse_ortho.models.tabular import tabular
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages import lockstep as stage
from sparse_ortho.stages.budget import Budget
from sparse_ortho.stages.bundle import Context
from sparse_ortho.stages.train import seeds as stage_train
from sparse_ortho.store import Store
from sparse_ortho.streams import Streams
from sparse_ortho.training import lockstep, stacked
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.lockstep import WORTH, Group, Seed, train_seeds, worth_it
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.resident import resident
from sparse_ortho.training.stacked import Stack, agrees, can_stack
from sparse_ortho.training.stopping import Stopping

CPU = torch.device("cpu")
DIGITS = (1, 8, 8)
FACTS = {"shape": DIGITS, "classes": 10, "mean": (0.3,), "std": (0.25,), "scale": 16.0}
QUICK = TrainOptions(epochs=2, batch_size=64, lr=0.02)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    prepare("cpu", 1)


def arrays(n: int = 237) -> dict[str, np.ndarray]:
    rng, ends = np.random.default_rng(0), [0, n - 77, n - 40, n]
    images = rng.integers(0, 17, (n, *DIGITS)).astype(np.uint8)
    parts = {part: np.arange(ends[i], ends[i + 1]) for i, part in enumerate(("train", "validation", "test"))}
    return {"images": images, "labels": images[:, 0].reshape(n, -1).argmax(1) % 10, **parts}


def network(seed: int, make: Any = mlp, **options: Any) -> MLP:
    torch.manual_seed(seed)
    return make(DIGITS, 10, **options)


def masks_of(model: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return {n: torch.from_numpy(rng.random(tuple(p.shape)) < 0.5) for n, p in model.named_parameters() if p.ndim > 1}


def left(model: torch.nn.Module, outcome: Any) -> Any:
    weights = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    return weights, canonical(outcome.record), canonical(outcome.curves)


def both(make: Any, options: TrainOptions, n: int = 3, masked: bool = True) -> tuple[list[Any], list[Any]]:
    """What n seeds leave one by one, and side by side."""
    splits = resident(arrays(), FACTS, CPU)
    alone, sides = [], []
    for seed in range(n):
        model = make(seed)
        masks = masks_of(model, seed) if masked else None
        alone.append(left(model, train_seed(model, splits, masks, options, Streams(seed), CPU)))
        sides.append(Seed(make(seed), masks, Streams(seed)))
    outcomes = train_seeds(sides, splits, options, CPU)
    return alone, [left(side.model, outcome) for side, outcome in zip(sides, outcomes, strict=True)]


# --- the gradients


def by_hand(model: MLP, x: np.ndarray, y: np.ndarray, slope: Any, function: Any) -> tuple[float, list[np.ndarray]]:
    """Mean cross-entropy and its gradient in float64, layer by layer."""
    weights = [p.detach().numpy().astype(np.float64) for p in model.parameters()]
    seen = [x]
    for i in range(0, len(weights), 2):
        z = seen[-1] @ weights[i].T + weights[i + 1]
        seen.append(function(z) if i < len(weights) - 2 else z)
    p = np.exp(seen[-1]) / np.exp(seen[-1]).sum(1, keepdims=True)
    loss, grad = -np.log(p[np.arange(len(y)), y]).mean(), (p - np.eye(p.shape[1])[y]) / len(y)
    found: list[np.ndarray] = []
    for i in reversed(range(0, len(weights), 2)):
        found = [grad.T @ seen[i // 2], grad.sum(0), *found]
        grad = (grad @ weights[i]) * slope(seen[i // 2])
    return loss, found


FUNCTIONS = {
    "linear": (lambda h: np.ones_like(h), lambda z: z),
    "relu": (lambda h: (h > 0).astype(float), lambda z: np.maximum(z, 0)),
    "tanh": (lambda h: 1 - h**2, np.tanh),
}


@pytest.mark.parametrize("activation", sorted(FUNCTIONS))
@pytest.mark.parametrize("sizes", [(6, 5, 4, 3), (4, 2), (64, 64, 64, 10)])
def test_the_gradient_of_each_network_is_that_of_its_own_batch(activation, sizes):
    torch.manual_seed(0)
    models = [MLP(sizes, activation) for _ in range(3)]
    before = [[p.detach().clone() for p in model.parameters()] for model in models]
    x, y = torch.randn(3, 7, sizes[0]), torch.randint(sizes[-1], (3, 7))
    means, right = Stack(models).gradients(x, y)
    for s, model in enumerate(models):
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before[s], strict=True))
        loss, grads = by_hand(model, x[s].double().numpy(), y[s].numpy(), *FUNCTIONS[activation])
        assert means[s].item() == pytest.approx(loss, rel=1e-5)
        for parameter, expected in zip(model.parameters(), grads, strict=True):
            assert parameter.grad is not None
            np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=1e-3, atol=1e-6)
        assert right[s] == (model(x[s]).argmax(1) == y[s]).sum()


def test_another_rounding_is_noticed(monkeypatch):
    models = [network(0, width=64), network(1, width=64)]
    monkeypatch.setitem(stacked.SLOPES, torch.nn.Tanh, lambda grad, out: grad * (1 - out) * (1 + out))
    assert not agrees(models, 64, DIGITS)


def test_zeros_of_the_other_sign_are_noticed(monkeypatch):
    whole = Stack._backward

    def flipped(self: Stack, grad: torch.Tensor, seen: Any) -> None:
        whole(self, grad, seen)
        for weight, _ in self.grads:
            weight.copy_(torch.where(weight == 0, -weight, weight))

    monkeypatch.setattr(Stack, "_backward", flipped)
    assert not agrees([network(0, width=64), network(1, width=64)], 64, DIGITS)


def test_looking_whether_bits_agree_leaves_no_trace():
    models = [network(0), network(1)]
    before, drawn = [p.detach().clone() for model in models for p in model.parameters()], torch.get_rng_state()
    agrees(models, 5, DIGITS, [3])
    assert all(torch.equal(p, q) for p, q in zip(before, (p for m in models for p in m.parameters()), strict=True))
    assert torch.equal(drawn, torch.get_rng_state()) and all(p.grad is None for m in models for p in m.parameters())


# --- whole trainings

NETWORKS = {
    "7x64": lambda seed: network(seed, width=64),
    "3x64": lambda seed: network(seed, depth=3, width=64),
    "7x100": lambda seed: network(seed),
    "lenet": lambda seed: network(seed, lenet300_100),
    "odd": lambda seed: network(seed, depth=4, width=17, activation="relu"),
    "one layer": lambda seed: network(seed, depth=1),
    "linear": lambda seed: network(seed, depth=3, width=32, activation="linear"),
}
KINDS = {
    "sgd": QUICK,
    "small batches": TrainOptions(epochs=1, batch_size=32, lr=0.05, momentum=0.5, schedule="cosine", warmup="3it"),
    "no rest": TrainOptions(epochs=1, batch_size=128, lr=0.1, nesterov=False, drop_last=True),
    "adam": TrainOptions(epochs=1, batch_size=64, lr=0.01, optimizer="adam"),
    "adamw, clipped": TrainOptions(epochs=1, batch_size=64, lr=0.01, optimizer="adamw", clip_norm=0.5, decay="weights"),
    "augmented": TrainOptions(epochs=1, batch_size=64, lr=0.02, crop=1, flip=True, rotation=10.0),
    "one by one": TrainOptions(epochs=1, batch_size=1, lr=0.001),
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_side_by_side_leaves_what_one_by_one_leaves(name, kind):
    alone, together = both(NETWORKS[name], KINDS[kind], masked=kind != "adam")
    assert together == alone


@pytest.mark.parametrize("n", [2, 5])
def test_any_number_of_seeds(n):
    alone, together = both(NETWORKS["7x64"], QUICK, n)
    assert together == alone and len({canonical(curves) for _, _, curves in together}) == n


def test_where_bits_would_differ_seeds_are_trained_one_by_one(monkeypatch):
    monkeypatch.setattr(lockstep, "agrees", lambda *_: False)
    monkeypatch.delattr(lockstep, "Stack")
    alone, together = both(NETWORKS["7x64"], QUICK)
    assert together == alone


def test_where_bits_agree_every_step_is_one_of_all_seeds(monkeypatch):
    sizes: list[tuple[int, ...]] = []
    monkeypatch.setattr(lockstep, "agrees", lambda *_: True)
    gradients = Stack.gradients
    monkeypatch.setattr(Stack, "gradients", lambda self, x, y: sizes.append(y.shape) or gradients(self, x, y))
    both(NETWORKS["7x64"], QUICK)
    assert sizes == [(3, 64), (3, 64), (3, 32)] * 2


def test_a_seed_that_diverges_leaves_the_others_alone():
    def make(seed: int) -> MLP:
        model = NETWORKS["odd"](seed)
        if seed == 1:
            next(model.parameters()).data[0, 0] = torch.inf
        return model

    alone, together = both(make, QUICK, masked=False)
    assert together == alone
    assert ["diverged" in record for _, record, _ in together] == [False, True, False]


# --- interrupted


class Stop(Exception):
    pass


class Frail(Checkpointer):
    """Saves at every look, keeps what it has written, and breaks down before a save."""

    def __init__(self, folder: Path, saves: float = np.inf):
        super().__init__(folder, 0)
        self.saves, self.written = saves, []

    def save(self, run: Any) -> None:
        if len(self.written) == self.saves:
            raise Stop
        super().save(run)
        self.written.append(self.path.read_bytes())


def interrupted(folder: Path, saves: list[float]) -> tuple[list[Any], list[Frail]]:
    splits = resident(arrays(), FACTS, CPU)
    frail = [Frail(folder / str(seed), most) for seed, most in enumerate(saves)]
    models = [NETWORKS["3x64"](seed) for seed in range(len(saves))]
    sides = [Seed(m, masks_of(m, seed), Streams(seed), frail[seed]) for seed, m in enumerate(models)]
    outcomes = train_seeds(sides, splits, QUICK, CPU)
    return [left(model, outcome) for model, outcome in zip(models, outcomes, strict=True)], frail


def test_checkpoints_are_those_of_a_training_alone(tmp_path):
    _, frail = interrupted(tmp_path, [np.inf] * 3)
    splits = resident(arrays(), FACTS, CPU)
    for seed, side in enumerate(frail):
        own, model = Frail(tmp_path / f"own{seed}"), NETWORKS["3x64"](seed)
        train_seed(model, splits, masks_of(model, seed), QUICK, Streams(seed), CPU, checkpoint=own)
        assert own.written == side.written and len(own.written) == 8  # 2 epochs of 3 steps and an end


@pytest.mark.parametrize("saves", [[2, 9, 9], [9, 4, 9], [9, 9, 5], [1, 9, 9]])
def test_seeds_that_a_kill_left_at_different_steps_end_as_if_there_had_been_none(tmp_path, saves):
    alone, _ = both(NETWORKS["3x64"], QUICK)
    with pytest.raises(Stop):
        interrupted(tmp_path, saves)
    assert interrupted(tmp_path, [np.inf] * 3)[0] == alone
    resumed, frail = interrupted(tmp_path, [np.inf] * 3)  # once more, from the end
    assert resumed == alone and not any(side.written for side in frail)


def test_sigterm_saves_every_seed_and_leaves_with_143(tmp_path, monkeypatch):
    alone, _ = both(NETWORKS["3x64"], QUICK)
    splits, step, done = resident(arrays(), FACTS, CPU), Group.step, []

    def signalled(self: Group, batches: Any) -> None:
        step(self, batches)
        done.append(1)
        if len(done) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Group, "step", signalled)
    with pytest.raises(SystemExit) as ended, Stopping() as stopping:
        models = [NETWORKS["3x64"](seed) for seed in range(3)]
        rarely = [Checkpointer(tmp_path / str(seed), 3600, stopping) for seed in range(3)]
        sides = [Seed(m, masks_of(m, i), Streams(i), rarely[i]) for i, m in enumerate(models)]
        train_seeds(sides, splits, QUICK, CPU)
    assert ended.value.code == 143 and len(done) == 4
    resumed, frail = interrupted(tmp_path, [np.inf] * 3)
    assert resumed == alone and [side.resumed_at for side in frail] == [4, 4, 4]


# --- which cells

LARGE = TrainOptions(batch_size=WORTH // 25_610 + 1)  # the network has 64 * 64 * 6 + 64 * 10 + 64 * 6 + 10 numbers


@pytest.mark.parametrize(
    ("model", "options", "wanted"),
    [
        (network(0, width=64), QUICK, True),
        (network(0, lenet300_100), QUICK, True),
        (network(0, width=64), LARGE, False),  # its products take longer than starting them
        (network(0, dropout=0.1), QUICK, False),
        (network(0, activation="selu"), QUICK, False),
        (mlp(DIGITS, 1), QUICK, False),
        (network(0, tabular), QUICK, False),
        *((network(0), TrainOptions(**{name: value}), False) for name, value in [("ema", 0.9), ("precision", "bf16")]),
        *((network(0), TrainOptions(**{name: value}), False) for name, value in [("ranks", 2), ("compile", True)]),
        (network(0), TrainOptions(label_smoothing=0.1), False),
    ],
)
def test_which_networks_are_trained_side_by_side(model, options, wanted):
    assert worth_it(model, options) is wanted
    assert not wanted or can_stack(model)


# --- the stage

SPEC = {
    "model": {"name": "mlp", "depth": 3, "width": 64},
    "shape": list(DIGITS),
    "classes": 10,
    "train": {"epochs": 1, "batch_size": 64, "lr": 0.02},
    "inputs": {"data": "d", "init": "start"},
}


def job(seeds: list[int], device: str = "cpu", **spec: Any) -> Job:
    return Job("train", "x", {"device": device}, (Task("cell", SPEC | spec, seeds, "c0de", []),))


def files(folder: Path, refused: int = -1) -> tuple[str, list[str]]:
    write_tensors(folder / "data.safetensors", arrays(), {"digest": "dd", "facts": FACTS})
    tensors, entries = {}, {}
    for seed in range(4):
        model = NETWORKS["3x64"](seed)
        named = {f"weights/{n}": p.detach().numpy() for n, p in model.named_parameters()}
        named |= {f"masks/{n}": mask.numpy() for n, mask in masks_of(model, seed).items()}
        tensors |= {f"start/{seed}/{name}": value for name, value in named.items()}
        row = {"status": "refused", "reason": "why"} if seed == refused else {"status": "ok", "level": 7}
        entries[str(seed)] = {"row": row, "inputs": {}, "digest": f"d{seed}"}
    write_tensors(folder / "init.safetensors", tensors, {"cells": {"start": {"seeds": entries}}})
    return str(folder / "data.safetensors"), [str(folder / "init.safetensors")]


def trained(folder: Path, name: str, given: Job, refused: int = -1, **context: Any) -> tuple[Any, list[str], Store]:
    """What the stage gives, what it said, and its store."""
    said: list[str] = []
    store = Store(folder / name)
    made = stage_train(given, Context(store, said.append, **context), *files(folder, refused))
    rows = [(m.seed, canonical(m.result.row), {k: v.tobytes() for k, v in m.result.tensors.items()}) for m in made]
    return rows, said, store


def entries(store: Store) -> dict[str, bytes]:
    return {str(p.relative_to(store.root)): p.read_bytes() for p in sorted(store.root.glob("train/*/*/*"))}


@pytest.fixture
def groups(monkeypatch) -> list[list[int]]:
    """Which seeds were trained together."""
    found: list[list[int]] = []
    whole = stage.train_together

    def told(task: Any, streams: Any, images: Any, starts: Any, context: Any, folders: Any) -> Any:
        found.append(list(folders))
        return whole(task, streams, images, starts, context, folders)

    monkeypatch.setattr(stage, "train_together", told)
    return found


@pytest.mark.parametrize("refused", [-1, 0, 2])
def test_the_stage_keeps_what_it_keeps_when_seeds_go_one_by_one(tmp_path, groups, monkeypatch, refused):
    one, said, store = trained(tmp_path, "together", job([0, 1, 2, 3]), refused)
    assert groups == [[seed for seed in range(4) if seed != refused]]
    assert store.events == {"started": 4, "made": 4} and any("0 of them from the store" in line for line in said)
    monkeypatch.setattr(stage, "wanted", lambda task: False)
    other, _, alone = trained(tmp_path, "alone", job([0, 1, 2, 3]), refused)
    assert one == other and entries(store) == entries(alone) and len(entries(store)) == 8 - (refused >= 0)
    assert not list(store.root.glob("checkpoints/train/*")) and len(groups) == 1


def test_what_is_in_the_store_is_served_and_the_rest_trained_together(tmp_path, groups):
    trained(tmp_path, "s", job([2]))
    rows, said, store = trained(tmp_path, "s", job([0, 1, 2, 3]))
    assert groups == [[0, 1, 3]] and store.events == {"started": 3, "made": 3, "served": 1}
    assert [seed for seed, *_ in rows] == [0, 1, 2, 3] and said[-1].endswith("1 of them from the store")


@pytest.mark.parametrize("spec", [{"rule": {"name": "set", "every": "1it"}}, {"train": SPEC["train"] | {"ema": 0.9}}])
def test_a_cell_that_moves_its_masks_or_averages_goes_one_by_one(tmp_path, groups, spec):
    rows, _, _ = trained(tmp_path, "s", job([0, 1], **spec))
    assert len(rows) == 2 and not groups


def test_under_a_budget_seeds_begin_one_by_one(tmp_path, groups):
    rows, _, _ = trained(tmp_path, "s", job([0, 1]), budget=Budget(1e12))
    assert len(rows) == 2 and not groups


def test_a_seed_that_another_process_made_meanwhile_is_taken_from_it(tmp_path, groups, monkeypatch):
    expected = trained(tmp_path, "one", job([0, 1, 2]))[0]
    groups.clear()
    asked: list[Any] = []
    monkeypatch.setattr(Store, "has", lambda self, *key: bool(asked.append(key)))  # looked too early
    trained(tmp_path, "s", job([1]))
    rows, _, _ = trained(tmp_path, "s", job([0, 1, 2]))
    assert rows == expected and groups == [[0, 2]] and asked


def test_a_mistake_in_a_group_is_told_and_costs_no_other_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "train_seeds", lambda *_: 1 / 0)
    given = job([0, 1])
    other = Task("other", SPEC | {"train": SPEC["train"] | {"ema": 0.9}}, [0], "c0de", [])
    with pytest.raises(UserError, match="1 of 3 seeds failed, the first: cell seed 0: ZeroDivisionError"):
        trained(tmp_path, "s", Job("train", "x", given.env, (*given.cells, other)))
    assert len(entries(Store(tmp_path / "s"))) == 4  # seed 1 alone, as no other is left, and the other cell
