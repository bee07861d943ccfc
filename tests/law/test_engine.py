"""Optimizers, schedules, losses, precisions and averages of the engine, against closed forms and float64 numpy."""

from __future__ import annotations

import math
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparse_ortho.errors import UserError
from sparse_ortho.streams import Streams
from sparse_ortho.training.averaging import WeightAverage
from sparse_ortho.training.clock import Clock
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.losses import cross_entropy, logits_of
from sparse_ortho.training.optimizers import decay_groups, optimizer
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.precision import Precision
from sparse_ortho.training.resident import resident
from tests.law.test_training import CPU, FACTS, half_masks, network, toy

BAD = [
    {"optimizer": "sdg"},
    {"decay": "some"},
    {"precision": "half"},
    {"smoothing": "other"},
    {"label_smoothing": 1.0},
    {"ema": 1.0},
    {"hue": 0.6},
    {"crop": -1},
    {"clip_norm": -1.0},
    {"eps": 0.0},
    {"warmup": "5 epochs"},
    {"period": "30x"},
    {"drops": ("80epochs",)},
    {"betas": (0.9, 1.0)},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_options_out_of_range_are_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"^train\.{next(iter(bad))}: "):
        TrainOptions(**bad)


def test_a_multistep_schedule_without_drops_is_refused() -> None:
    with pytest.raises(UserError, match=r"^train\.drops: "):
        TrainOptions(schedule="multistep")


# --- learning rates


def rates(images: int, **options: Any) -> list[float]:
    """The learning rate of every step of a training."""
    clock = Clock(TrainOptions(**options), images)
    found = []
    for _ in range(clock.options.epochs):
        for _ in range(clock.steps_per_epoch):
            found.append(clock.lr)
            clock.end_step()
        clock.end_epoch()
    return found


def test_snip_protocol_on_mnist_drops_after_25000_and_50000_steps() -> None:
    found = rates(54_000, epochs=100, batch_size=100, lr=0.1, schedule="periodic", period="25000it")
    assert len(found) == 54_000
    assert [i for i in range(1, 54_000) if found[i] != found[i - 1]] == [25_000, 50_000]
    assert found[-1] == pytest.approx(1e-3)


def test_multistep_in_epochs_is_that_of_multistep_lr() -> None:
    parameter = torch.zeros(1, requires_grad=True)
    plain = torch.optim.SGD([parameter], lr=0.1)
    oracle = torch.optim.lr_scheduler.MultiStepLR(plain, [90, 135], gamma=0.1)
    found = rates(1000, epochs=182, batch_size=500, schedule="multistep", drops=("90ep", "135ep"))
    for epoch in range(182):
        assert found[2 * epoch] == found[2 * epoch + 1] == pytest.approx(plain.param_groups[0]["lr"])
        plain.step()
        oracle.step()


def test_warm_up_in_epochs_is_the_published_one() -> None:
    """lr (e + 1) / (w + 1) while e < w, then x0.1 at 30, 60 and 80."""
    found = rates(40, epochs=90, batch_size=10, lr=0.4, warmup="5ep", schedule="multistep", drops=("30ep", "60ep"))
    by_epoch = [found[4 * e : 4 * e + 4] for e in range(90)]
    assert [e[0] for e in by_epoch[:6]] == pytest.approx([0.4 * k / 6 for k in (1, 2, 3, 4, 5, 6)])
    assert all(len(set(e)) == 1 for e in by_epoch)
    assert [by_epoch[e][0] for e in (29, 30, 60)] == pytest.approx([0.4, 0.04, 0.004])


def test_warm_up_in_steps_rises_each_step_and_cosine_begins_after_it() -> None:
    found = rates(100, epochs=3, batch_size=10, lr=1.0, warmup="9it", schedule="cosine", final_lr=0.2)
    assert found[:9] == pytest.approx([k / 10 for k in range(1, 10)])
    assert found[9:] == pytest.approx([0.2 + 0.8 * math.cos(math.pi * (n - 9) / 42) ** 2 for n in range(9, 30)])


def test_final_lr_is_the_end_of_linear() -> None:
    assert rates(8, epochs=2, batch_size=2, lr=1.0, schedule="linear", final_lr=0.2) == pytest.approx(
        [1 - 0.8 * n / 8 for n in range(8)]
    )


def test_drop_last_leaves_the_small_batch_out() -> None:
    assert Clock(TrainOptions(batch_size=5), 23).steps_per_epoch == 5
    assert Clock(TrainOptions(batch_size=5, drop_last=True), 23).steps_per_epoch == 4
    with pytest.raises(UserError, match="leaves no whole batch of 23 images"):
        Clock(TrainOptions(batch_size=24, drop_last=True), 23)


# --- losses


@pytest.mark.parametrize("over", ["uniform", "others"])
def test_label_smoothing_is_the_cross_entropy_with_the_smoothed_target(over: str) -> None:
    rng, alpha = np.random.default_rng(0), 0.1
    z, y = rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    q = np.full((6, 5), alpha / 5 if over == "uniform" else alpha / 4)
    q[np.arange(6), y] = 1 - alpha + alpha / 5 if over == "uniform" else 1 - alpha
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    found = cross_entropy(torch.from_numpy(z), torch.from_numpy(y), alpha=alpha, over=over)
    assert found.item() == pytest.approx(-(q * log_p).sum(1).mean(), rel=1e-12)


def test_too_much_smoothing_over_the_others_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.label_smoothing"):
        cross_entropy(torch.zeros(2, 2), torch.zeros(2).long(), alpha=0.6, over="others")


def test_one_logit_is_binary_cross_entropy() -> None:
    z, y = torch.randn(9, 1, dtype=torch.float64), torch.arange(9) % 2
    expected = F.binary_cross_entropy_with_logits(z[:, 0], y.double())
    torch.testing.assert_close(cross_entropy(z, y), expected)
    assert torch.equal(logits_of(z).argmax(1), (z[:, 0] > 0).long())


# --- optimizers


def by_hand(kind: str, w: np.ndarray, grads: list[np.ndarray], lr: float, decay: float) -> np.ndarray:
    """Adam with coupled decay, and AdamW, in float64 (Kingma, Ba 2015; Loshchilov, Hutter 2019)."""
    m = v = np.zeros_like(w)
    for t, g in enumerate(grads, start=1):
        if kind == "adamw":
            w = w - lr * decay * w
        else:
            g = g + decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_and_adamw_are_those_of_the_papers(kind: Any) -> None:
    rng = np.random.default_rng(3)
    model = nn.Linear(4, 2, bias=False).double()
    start = rng.standard_normal((2, 4))
    model.weight.data = torch.from_numpy(start.copy())
    made = optimizer(TrainOptions(optimizer=kind, lr=0.05, weight_decay=0.1), model)
    grads = [rng.standard_normal((2, 4)) for _ in range(7)]
    for grad in grads:
        model.weight.grad = torch.from_numpy(grad.copy())
        made.step()
    np.testing.assert_allclose(model.weight.detach().numpy(), by_hand(kind, start, grads, 0.05, 0.1), rtol=1e-10)


def decayed(rule: Any) -> set[str]:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)
            self.bn1 = nn.BatchNorm2d(2)
            self.shortcut = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
            self.fc = nn.Linear(2, 3)

    model = Small()
    group = decay_groups(TrainOptions(decay=rule), model)[0]
    assert group["weight_decay"] == 1e-4
    inside = {id(p) for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in inside}


def test_which_parameters_decay() -> None:
    weights = {"conv.weight", "shortcut.0.weight", "fc.weight"}
    biases = {"conv.bias", "shortcut.0.bias", "fc.bias"}
    main, side = {"bn1.weight", "bn1.bias"}, {"shortcut.1.weight", "shortcut.1.bias"}
    assert decayed("all") == weights | biases | main | side
    assert decayed("weights") == weights
    assert decayed("not_norm") == weights | biases
    assert decayed("not_bn_named") == weights | biases | side


# --- steps: masks, precision, clipping, averages


class Watch(Part):
    """Looks at the weights after every step."""

    def __init__(self, masks: Any):
        self.masks, self.seen, self.largest = masks, 0, 0.0

    def before_step(self, run: Any) -> None:
        self.seen += 1

    def after_step(self, run: Any) -> None:
        for name, mask in self.masks.items():
            weight = run.model.get_parameter(name).detach()
            assert weight.dtype == torch.float32
            off = weight[~mask]
            assert not off.any()
            self.largest = max(self.largest, float(weight[mask].abs().max()))


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_masked_weights_are_zero_after_every_step(kind: Any, precision: Any, ema: float) -> None:
    model = network(width=6)
    masks = half_masks(model)
    watch = Watch(masks)
    options = TrainOptions(epochs=2, batch_size=5, lr=0.02, optimizer=kind, precision=precision, ema=ema)
    outcome = train_seed(model, resident(toy(), FACTS, CPU), masks, options, Streams(0), CPU, parts=[watch])
    assert watch.seen == 10 and watch.largest > 0 and outcome.record["status"] == "ok"
    assert all(not model.get_parameter(name)[~mask].any() for name, mask in masks.items())


@pytest.mark.parametrize(("precision", "bits"), [("bf16", 8), ("fp16", 11)])
def test_half_precision_gives_the_gradients_of_float64_to_its_own_rounding(precision: Any, bits: int) -> None:
    found: dict[str, list[torch.Tensor]] = {}

    class Keep(Part):
        def before_step(self, run: Any) -> None:
            found.setdefault("half", [p.grad.clone() for p in run.model.parameters()])

    model = network(width=32, activation="tanh")
    exact = network(width=32, activation="tanh").double()
    data = resident(toy(), FACTS, CPU)
    options = TrainOptions(epochs=1, batch_size=23, precision=precision)
    train_seed(model, data, None, options, Streams(0), CPU, parts=[Keep()])
    F.cross_entropy(exact(data["train"].x.double()), data["train"].y).backward()
    for half, parameter in zip(found["half"], exact.parameters(), strict=True):
        assert parameter.grad is not None
        error = (half.double() - parameter.grad).norm() / parameter.grad.norm()
        assert error < 8 * 2.0**-bits


def test_a_step_that_float16_skips_moves_neither_weights_nor_parts() -> None:
    model = network()
    steps = []

    class Overflow(Part):
        def before_step(self, run: Any) -> None:
            if run.clock.steps == 1:
                next(run.model.parameters()).grad.fill_(math.inf)
                # What GradScaler looked at is recorded by unscale_; look again.
                run.precision.scaler._per_optimizer_states.clear()
                run.precision.scaler.unscale_(run.optimizer)

        def after_step(self, run: Any) -> None:
            steps.append(run.clock.steps)

    options = TrainOptions(epochs=1, batch_size=5, precision="fp16")
    train_seed(model, resident(toy(), FACTS, CPU), None, options, Streams(0), CPU, parts=[Overflow()])
    assert steps == [0, 2, 3, 4]
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_first_step_that_float16_skips_leaves_no_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch fills memory that nobody wrote with NaN here, so that reading it shows."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        model = nn.Linear(3, 2, bias=False)
        start = model.weight.detach().clone()
        chosen = TrainOptions(lr=1.0, momentum=0.5, nesterov=False, weight_decay=0.0, precision="fp16")
        taking, numbers = optimizer(chosen, model), Precision("fp16", CPU)
        for factor in (math.inf, 1.0, 1.0):
            taking.zero_grad()
            numbers.backward(model.weight.sum() * factor)
            numbers.unscale(taking)
            assert numbers.step(taking) is (factor == 1.0)
    finally:
        torch.use_deterministic_algorithms(before)
    torch.testing.assert_close(model.weight.detach(), start - 1.0 - 1.5)


def test_clipping_scales_the_gradient_of_the_kept_weights_to_the_norm() -> None:
    model = network(width=8)
    masks = half_masks(model)
    norms: list[tuple[float, float]] = []

    def norm() -> float:
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        return math.sqrt(
            sum(float((g.double() * masks.get(n, torch.tensor(True))).square().sum()) for n, g in grads.items())
        )

    class Watched(Part):
        def before_step(self, run: Any) -> None:
            norms.append((norm(), 0.0))

        def after_step(self, run: Any) -> None:
            norms[-1] = (norms[-1][0], norm())

    most = 0.1
    options = TrainOptions(epochs=1, batch_size=5, lr=0.5, clip_norm=most)
    train_seed(model, resident(toy(), FACTS, CPU), masks, options, Streams(0), CPU, parts=[Watched()])
    assert any(before > most for before, _ in norms)
    assert [after for _, after in norms] == pytest.approx([min(before, most) for before, _ in norms], rel=1e-5)


def test_the_average_is_the_closed_form_and_is_what_is_evaluated_and_left() -> None:
    trail: list[torch.Tensor] = []

    class Trail(Part):
        def begin(self, run: Any) -> None:
            trail.append(run.model.get_parameter("layers.0.weight").detach().double().clone())

        def after_step(self, run: Any) -> None:
            trail.append(run.model.get_parameter("layers.0.weight").detach().double().clone())

    model = network()
    options = TrainOptions(epochs=2, batch_size=5, lr=0.5, ema=0.8)
    splits = resident(toy(), FACTS, CPU)
    outcome = train_seed(model, splits, None, options, Streams(0), CPU, parts=[Trail()])
    mean = trail[0]
    for weight in trail[1:]:
        mean = 0.8 * mean + 0.2 * weight
    torch.testing.assert_close(model.get_parameter("layers.0.weight").double(), mean, rtol=1e-5, atol=1e-6)
    left = F.cross_entropy(model(splits["test"].x), splits["test"].y)
    assert outcome.record["test_loss_last"] == pytest.approx(left.item(), rel=1e-5)
    assert not torch.allclose(trail[-1], mean, rtol=1e-3)


def test_training_goes_on_from_the_weights_and_not_from_their_average() -> None:
    plain, averaged = network(), network()
    for model, ema in ((plain, 0.0), (averaged, 0.5)):
        options = TrainOptions(epochs=3, batch_size=5, lr=0.1, ema=ema)
        outcome = train_seed(model, resident(toy(), FACTS, CPU), None, options, Streams(0), CPU)
        losses = [row["train_loss"] for row in outcome.curves]
        if ema == 0.0:
            expected = losses
    assert losses == expected
    assert WeightAverage(0.5).owns_masks is False


@pytest.mark.parametrize("faster", [{"channels_last": True}, {"compile": True}], ids=lambda o: next(iter(o)))
def test_faster_forms_train_the_same_network(faster: dict[str, bool]) -> None:
    if "compile" in faster and not shutil.which("g++"):
        pytest.skip("torch.compile needs g++ on a CPU, and there is none")

    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, padding=1)
            self.fc = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).tanh().mean((2, 3)))

    results = []
    for options in ({}, faster):
        torch.manual_seed(0)
        model = Conv()
        chosen = TrainOptions(epochs=2, batch_size=8, lr=0.1, drop_last=True, **options)
        train_seed(model, resident(toy(), FACTS, CPU), None, chosen, Streams(0), CPU)
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
