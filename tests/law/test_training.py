"""The training loop against closed forms, a float64 re-implementation in numpy, and counting by hand."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from sparse_ortho.artifacts import canonical, read_tables, write_table, write_tensors
from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks
from sparse_ortho.models.mlp import mlp
from sparse_ortho.streams import Streams, stream
from sparse_ortho.training import columns, progress, records
from sparse_ortho.training.clock import Clock
from sparse_ortho.training.evaluate import BATCH, evaluate
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.resident import Split, few, resident
from sparse_ortho.training.runs import load_run, run_arrays

CPU = torch.device("cpu")
FACTS = {"name": "toy", "shape": (1, 2, 3), "classes": 3, "mean": (0.4,), "std": (0.25,), "scale": 16.0}


def toy(n_train=23, n_validation=5, n_test=7):
    """Random images whose label can be learned from the first two pixels."""
    rng, n = np.random.default_rng(1), n_train + n_validation + n_test
    images = rng.integers(0, 17, (n, 1, 2, 3)).astype(np.uint8)
    labels = (images[:, 0, 0, 0] > 8).astype(np.int64) + (images[:, 0, 0, 1] > 8)
    ends = np.cumsum([0, n_train, n_validation, n_test])
    parts = {part: np.arange(ends[i], ends[i + 1]) for i, part in enumerate(("train", "validation", "test"))}
    return {"images": images, "labels": labels, **parts}


def network(seed=0, **options: Any):
    torch.manual_seed(seed)
    return mlp(FACTS["shape"], FACTS["classes"], **{"depth": 3, "width": 4, **options})


def half_masks(model):
    rng = np.random.default_rng(2)
    weights = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    return {name: torch.from_numpy(rng.random(tuple(p.shape)) < 0.5) for name, p in weights.items()}


def train(model=None, masks=None, data=None, seed=0, parts=(), **options: Any):
    model = model or network()
    chosen = TrainOptions(**{"epochs": 3, "batch_size": 5, **options})
    return train_seed(model, resident(data or toy(), FACTS, CPU), masks, chosen, Streams(seed), CPU, parts=parts), model


# --- learning rate


@pytest.mark.parametrize("epochs", [2, 3, 7, 100, 160, 250])
def test_step_schedule_is_that_of_multistep_lr(epochs):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    oracle = torch.optim.lr_scheduler.MultiStepLR(optimizer, [int(epochs / 2), int(epochs * 3 / 4)], gamma=0.1)
    clock = Clock(TrainOptions(epochs=epochs), images=300)
    for _ in range(epochs):
        for _ in range(clock.steps_per_epoch):
            assert clock.lr == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
            clock.end_step()
        clock.end_epoch()
        optimizer.step()
        oracle.step()


def test_one_epoch_trains_at_the_full_rate():
    assert Clock(TrainOptions(epochs=1), images=300).lr == 0.1


@pytest.mark.parametrize(
    ("schedule", "form"),
    [
        ("constant", lambda t: 1.0),
        ("linear", lambda t: 1 - t),
        ("cosine", lambda t: math.cos(math.pi * t / 2) ** 2),
    ],
)
def test_the_other_schedules_move_with_every_step(schedule, form):
    clock = Clock(TrainOptions(epochs=4, schedule=schedule, lr=0.3, batch_size=100), images=250)
    assert clock.steps_per_epoch == 3
    for n in range(12):
        assert clock.steps == n and clock.lr == pytest.approx(0.3 * form(n / 12))
        clock.end_step()
        if clock.step == 3:
            clock.end_epoch()


@pytest.mark.parametrize(
    "bad",
    [{"epochs": -1}, {"batch_size": 0}, {"lr": -1.0}, {"lr": math.nan}, {"lr": math.inf}, {"momentum": 1.0}]
    + [{"weight_decay": -1e-4}, {"schedule": "cosin"}, {"milestones": (0.5, 1.5)}, {"gamma": 0.0}, {"threads": 0}],
)
def test_options_out_of_range_are_refused_by_name(bad):
    with pytest.raises(UserError, match=rf"^train\.{next(iter(bad))}: "):
        TrainOptions(**bad)


# --- the steps themselves


def by_hand(model, data, masks, options, seed):
    """SGD with Nesterov momentum on a tanh MLP in float64: Sutskever's form as torch states it, all biases decayed."""
    state = {name: p.detach().numpy().astype(np.float64) for name, p in model.named_parameters()}
    keep = {name: masks[name].numpy() if masks and name in masks else 1.0 for name in state}
    state = {name: value * keep[name] for name, value in state.items()}
    momentum = dict.fromkeys(state)
    x = (data["images"] / FACTS["scale"] - FACTS["mean"][0]) / FACTS["std"][0]
    x, y, depth = x.reshape(len(x), -1), data["labels"], len(state) // 2
    rows, losses, lr = data["train"], [], options.lr
    for epoch in range(options.epochs):
        order, sums = rows[stream(seed, "order", f"epoch{epoch}").permutation(len(rows))], []
        for start in range(0, len(order), options.batch_size):
            batch = order[start : start + options.batch_size]
            h = [x[batch]]
            for i in range(depth):
                z = h[-1] @ state[f"layers.{i}.weight"].T + state[f"layers.{i}.bias"]
                h.append(np.tanh(z) if i < depth - 1 else z)
            p = np.exp(h[-1] - h[-1].max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            sums += list(-np.log(p[np.arange(len(batch)), y[batch]]))
            delta, gradient = (p - np.eye(p.shape[1])[y[batch]]) / len(batch), {}
            for i in reversed(range(depth)):
                gradient[f"layers.{i}.weight"], gradient[f"layers.{i}.bias"] = delta.T @ h[i], delta.sum(0)
                delta = delta @ state[f"layers.{i}.weight"] * (1 - h[i] ** 2)
            for name in state:
                g = gradient[name] + options.weight_decay * state[name]
                momentum[name] = g if momentum[name] is None else options.momentum * momentum[name] + g
                step = g + options.momentum * momentum[name] if options.nesterov else momentum[name]
                state[name] = (state[name] - lr * step) * keep[name]
        losses.append(np.mean(sums))
    return state, losses


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_training_is_sgd_with_momentum_as_written_in_float64(nesterov, sparse):
    model, data = network(), toy()
    masks = half_masks(model) if sparse else None
    options = TrainOptions(epochs=4, batch_size=5, lr=0.2, nesterov=nesterov, weight_decay=0.01, schedule="constant")
    expected, losses = by_hand(model, data, masks, options, seed=6)
    outcome = train_seed(model, resident(data, FACTS, CPU), masks, options, Streams(6), CPU)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), expected[name], rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose([row["train_loss"] for row in outcome.curves[1:]], losses, rtol=1e-5)


class Watch(Part):
    """Sees every step, and what of the masked weights is not zero."""

    def __init__(self, masks=None):
        self.masks, self.seen, self.left = masks or {}, [], []

    def begin(self, run):
        self.seen.append(("begin", run.clock.steps))
        self.look(run)

    def before_step(self, run):
        assert all(p.grad is not None for p in run.model.parameters())
        self.seen.append(("before", run.clock.steps))

    def after_step(self, run):
        self.seen.append(("after", run.clock.steps))
        self.look(run)

    def end_epoch(self, run):
        self.seen.append(("epoch", run.clock.steps))

    def look(self, run):
        parameters = dict(run.model.named_parameters())
        self.left += [int(parameters[name][~mask].count_nonzero()) for name, mask in self.masks.items()]


def test_masked_weights_are_exactly_zero_at_the_start_and_after_every_step():
    model = network()
    masks = half_masks(model)
    watch = Watch(masks)
    outcome, _ = train(model, masks, parts=[watch])
    assert len(watch.left) == 3 * (1 + 15) and not any(watch.left)
    assert all(model.get_parameter(name)[mask].count_nonzero() == mask.sum() for name, mask in masks.items())
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert (outcome.record["nonzeros"], outcome.record["weights"]) == (kept, 6 * 4 + 4 * 4 + 4 * 3)
    assert outcome.record["density"] == kept / 52


def test_parts_act_at_their_points():
    watch = Watch()
    train(parts=[watch], epochs=2, data=toy(n_train=8), batch_size=4)
    steps = [[("before", i), ("after", i)] for i in range(4)]
    expected = [("begin", 0), *steps[0], *steps[1], ("epoch", 2), *steps[2], *steps[3], ("epoch", 4)]
    assert watch.seen == expected


def test_a_part_may_bring_the_loss():
    class Nothing(Part):
        def loss(self, logits, y):
            return logits.sum() * 0.0 + 2.5

    model = network()
    before = [p.clone() for p in model.parameters()]
    outcome, _ = train(model, parts=[Nothing()], weight_decay=0.0)
    assert [row["train_loss"] for row in outcome.curves[1:]] == [2.5] * 3
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"layers.9.weight": torch.ones(4, 6, dtype=torch.bool)}, "no such parameter"),
        ({"layers.0.weight": torch.ones(6, 4, dtype=torch.bool)}, "has shape"),
    ],
)
def test_masks_of_another_model_are_refused(masks, message):
    with pytest.raises(UserError, match=message):
        train(masks=masks)


# --- what is reported


def test_without_a_step_size_every_epoch_reports_the_loss_of_epoch_0():
    outcome, _ = train(lr=0.0)  # 23 images in batches of 5: the mean must weigh the last batch of 3
    first = outcome.curves[0]
    for row in outcome.curves[1:]:
        assert row["train_loss"] == pytest.approx(first["train_loss"], rel=1e-6)
        assert all(row[f"{part}_accuracy"] == first[f"{part}_accuracy"] for part in ("train", "validation", "test"))


def test_evaluation_is_the_mean_over_images_across_batches():
    rng, n = np.random.default_rng(3), 2 * BATCH + 17
    logits, y = rng.normal(size=(n, 4)), rng.integers(0, 4, n)
    logits[:5] *= 50
    p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    splits = {
        "test": Split(torch.from_numpy(logits).float(), torch.from_numpy(y), zero, one),
        "none": Split(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), zero, one),
        "last": Split(torch.from_numpy(logits[:3]).float(), torch.from_numpy(y[:3]), zero, one),
    }
    model = torch.nn.Dropout(0.5)  # in evaluation mode the identity
    scores = evaluate(model, splits)
    for name, k in (("test", n), ("last", 3)):
        assert scores[name][0] == pytest.approx(-p[np.arange(k), y[:k]].mean(), rel=1e-5)
        assert scores[name][1] == pytest.approx(100 * (logits[:k].argmax(1) == y[:k]).mean())
    assert scores["none"] == (None, None) and model.training


def test_images_are_normalised_alike_at_once_and_by_batch():
    data, rows = toy(), torch.tensor([3, 0, 21])
    once, later = (resident(data, FACTS, CPU, limit)["train"] for limit in (1 << 30, 0))
    expected = (data["images"][rows.numpy()] / 16 - 0.4) / 0.25
    assert once.x.dtype == torch.float32 and later.x.dtype == torch.uint8
    for split in (once, later):
        np.testing.assert_allclose(split.take(rows)[0].numpy(), expected, atol=1e-6)
        assert split.take(rows)[1].tolist() == data["labels"][rows.numpy()].tolist()


def hand_made_curve():
    """(validation, test) accuracy by epoch: the best validation comes twice, the best test elsewhere."""
    pairs = [(99.0, 98.0), (50.0, 51.0), (80.0, 70.0), (80.0, 75.0), (60.0, 90.0), (70.0, 60.0)]
    rows = []
    for epoch, (validation, test) in enumerate(pairs):
        scores = {"train": (1.0 / (epoch + 1), 10.0 * epoch), "validation": (0.5, validation), "test": (0.25, test)}
        rows.append(records.curve_row(epoch, 7 * epoch, 0.1, scores))
    return rows


def test_the_record_selects_as_its_names_say():
    expected = {
        "epochs": 5,
        "steps": 35,
        "test_accuracy_last": 60.0,
        "test_accuracy_best_validation": 70.0,
        "test_accuracy_max": 90.0,
        "validation_accuracy_last": 70.0,
        "validation_accuracy_best": 80.0,
        "best_epoch": 2,
        "train_accuracy_last": 50.0,
        "train_loss_last": 1.0 / 6,
        "test_loss_last": 0.25,
    }
    assert records.selected(hand_made_curve()) == expected
    assert records.selected(hand_made_curve()[:1])["test_accuracy_max"] == 98.0  # nothing trained: epoch 0 counts


def test_records_and_curves_have_exactly_their_columns(tmp_path):
    outcome, _ = train()
    rare = ("level", "free_parameters", "explored", "empty_units", "extra_parameters", "extra_parameters_kept")
    plain = [name for name in columns.RECORD_COLUMNS if name not in rare]  # ladders, rules and tricks have the others
    assert ["cell", "seed", *outcome.record] == plain
    assert all(list(row) == list(columns.CURVE_COLUMNS)[2:] for row in outcome.curves)
    assert [row["epoch"] for row in outcome.curves] == [0, 1, 2, 3]
    assert [row["step"] for row in outcome.curves] == [0, 5, 10, 15]
    assert [row["lr"] for row in outcome.curves] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    write_table(tmp_path / "r.parquet", [{"cell": "c", "seed": 0, **outcome.record}], columns.RECORD_COLUMNS)
    write_table(
        tmp_path / "c.parquet", [{"cell": "c", "seed": 0, **row} for row in outcome.curves], columns.CURVE_COLUMNS
    )
    absent = dict.fromkeys(rare)
    assert read_tables([tmp_path / "r.parquet"]) == [{"cell": "c", "seed": 0, **outcome.record, **absent}]
    json.loads(canonical([outcome.record, outcome.curves]))


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("sparse", [True, False])
def test_a_run_that_diverges_is_data(tmp_path, sparse):
    model = network(activation="linear")
    outcome, _ = train(model, half_masks(model) if sparse else None, lr=1e20, epochs=9, weight_decay=0.1)
    record, last = outcome.record, outcome.curves[-1]
    assert record["status"] == "diverged" and "not finite at epoch" in record["reason"]
    assert record["epochs"] == last["epoch"] < 9 and len(outcome.curves) == last["epoch"] + 1
    assert last["test_loss"] is None and last["test_accuracy"] is None and record["test_accuracy_last"] is None
    write_table(tmp_path / "r.parquet", [{"cell": "c", "seed": 0, **record}], columns.RECORD_COLUMNS)
    canonical(outcome.curves)


def test_a_network_that_starts_broken_takes_no_step():
    model = network()
    torch.nn.init.constant_(model.get_parameter("layers.0.bias"), math.nan)
    outcome, _ = train(model)
    assert outcome.record["status"] == "diverged" and outcome.record["steps"] == 0 and len(outcome.curves) == 1


def test_no_epochs_and_no_validation_part_are_possible():
    outcome, model = train(epochs=0)
    assert outcome.record["status"] == "ok" and outcome.record["steps"] == 0
    assert outcome.record["test_accuracy_last"] == outcome.curves[0]["test_accuracy"]
    outcome, _ = train(data=toy(n_validation=0))
    assert outcome.record["status"] == "ok" and outcome.record["best_epoch"] is None
    assert outcome.record["test_accuracy_best_validation"] is None and outcome.record["test_accuracy_max"] is not None


def test_it_learns_and_a_dense_run_has_density_1():
    outcome, _ = train(data=toy(400, 50, 50), epochs=15, batch_size=20)
    assert outcome.record["train_accuracy_last"] > 95 and outcome.record["test_accuracy_last"] > 85
    assert (outcome.record["density"], outcome.record["weights"]) == (1.0, 52)


def test_a_seed_decides_the_run():
    runs = [train(seed=seed, lr=0.3) for seed in (4, 4, 5)]
    weights = [torch.cat([p.detach().flatten() for p in model.parameters()]) for _, model in runs]
    assert torch.equal(weights[0], weights[1]) and runs[0][0] == runs[1][0]
    assert not torch.equal(weights[0], weights[2])


def test_news_tell_where_how_fast_and_how_long(monkeypatch):
    """A clock that moves one second a look: a line at every look, or at every third with two seconds of quiet."""
    ticks = itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))
    lines, splits, options = [], resident(toy(), FACTS, CPU), TrainOptions(epochs=2, batch_size=12)
    train_seed(network(), splits, None, options, Streams(0), CPU, news=progress.News(lines.append, quiet=0))
    # two steps and one end an epoch: begin looks at 1 s, the k-th line at k + 1 s, so a line a second
    assert [line.partition(":")[0].partition(", ")[0] for line in lines] == ["epoch 1/2"] * 3 + ["epoch 2/2"] * 3
    assert lines[0] == "epoch 1/2, step 1, 12 images/s, 3 s left"
    assert lines[3] == "epoch 2/2, step 1, 9 images/s, 1 s left"  # 3 steps of 12 images in 4 s
    assert lines[2].startswith("epoch 1/2: train loss ") and "test accuracy" in lines[2]
    lines.clear()
    train_seed(network(), splits, None, options, Streams(0), CPU, news=progress.News(lines.append, quiet=3))
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2.0 min"), (7199, "120.0 min"), (86400, "24.0 h")]
)
def test_a_span_is_told_in_two_figures_of_its_largest_unit(seconds, text):
    assert progress.span(seconds) == text


# --- the file of a run


def test_a_run_read_back_computes_the_same(tmp_path):
    model = network(activation="relu")
    masks = Masks(half_masks(model))
    train(model, masks)
    facts = {"model": {"name": "mlp", "depth": 3, "width": 4, "activation": "relu"}, "shape": [1, 2, 3], "classes": 3}
    write_tensors(tmp_path / "w.safetensors", run_arrays(model, masks), facts)
    again, masks_again = load_run(tmp_path / "w.safetensors")
    x = torch.randn(6, 1, 2, 3)
    assert torch.equal(again(x), model(x)) and masks_again.digest() == masks.digest()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"shape": [1, 2, 3]}, "does not say how"),
        ({"model": {"name": "mlp", "depht": 3}, "shape": [1, 2, 3], "classes": 3}, "does not say how"),
        ({"model": {"name": "mlpp"}, "shape": [1, 2, 3], "classes": 3}, "did you mean 'mlp'"),
        ({"model": {"name": "mlp", "depth": 4, "width": 4}, "shape": [1, 2, 3], "classes": 3}, "does not hold"),
        ({"model": {"name": "mlp", "depth": 3, "width": 5}, "shape": [1, 2, 3], "classes": 3}, "does not hold"),
        (None, "does not say how"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, facts, message):
    write_tensors(tmp_path / "w.safetensors", run_arrays(network(), None), facts)
    with pytest.raises(UserError, match=message):
        load_run(tmp_path / "w.safetensors")


# --- a few images


def test_a_few_images_are_those_rows_of_the_whole():
    data, rows = toy(), np.array([5, 3, 11])
    x, y = few(data, FACTS, data["train"][rows])
    whole = resident(data, FACTS, CPU)["train"]
    assert torch.equal(x, whole.x[torch.from_numpy(rows)]) and torch.equal(y, whole.y[torch.from_numpy(rows)])
