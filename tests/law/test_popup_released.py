"""What the released program does between epochs and levels of edge-popup: the network is scaled, the rate restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

import sparse_ortho as so
from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError
from sparse_ortho.learned.edge_popup import edge_popup
from sparse_ortho.learned.popup import Popup
from sparse_ortho.learned.scaling import fitted, of_layers
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.popup import PoppedUp
from sparse_ortho.training.resident import resident
from sparse_ortho.training.runs import run_arrays
from tests.law.test_training import CPU, FACTS, half_masks, network, toy

# --- the scale of one batch


def batch(scale: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits, labels = scale * rng.standard_normal((32, 4)), rng.integers(0, 4, 32)
    logits[np.arange(32), labels] += 0.8 * scale  # right more often than not
    return torch.from_numpy(logits), torch.from_numpy(labels)


def cost(a: float, z: np.ndarray, y: np.ndarray) -> float:
    return -float(log_softmax(a * z, axis=1)[np.arange(len(y)), y].mean())


@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0])
def test_the_scale_is_that_of_twenty_steps_of_descent(scale: float) -> None:
    """Oracle: SGD on one number by numpy, with the slope of the cost by central differences in float64."""
    z, y = (part.numpy() for part in batch(scale))
    a = 1.0
    for _ in range(20):
        a -= 0.1 * (cost(a + 1e-6, z, y) - cost(a - 1e-6, z, y)) / 2e-6
    assert fitted(*batch(scale)) == pytest.approx(a, rel=1e-7)


def test_the_scale_by_hand() -> None:
    """Two classes, logits (z, 0), all labels 0: a <- a + 0.1 z / (1 + e^(a z))."""
    a = 1.0
    for _ in range(20):
        a += 0.1 * 2.0 / (1 + np.exp(2.0 * a))
    assert fitted(torch.tensor([[2.0, 0.0]]), torch.tensor([0])) == pytest.approx(a, rel=1e-12)


def test_many_small_steps_would_end_at_the_best_scale() -> None:
    """So the descent goes downhill: after twenty steps the cost is below that of 1, and not below the least."""
    logits, labels = batch(2.0)
    z, y = logits.numpy(), labels.numpy()
    least = minimize_scalar(lambda a: cost(a, z, y), bounds=(0, 20), method="bounded").fun
    assert least <= cost(fitted(logits, labels), z, y) < cost(1.0, z, y)


def test_a_scale_that_is_not_above_zero_counts_as_one() -> None:
    z = torch.tensor([[0.0, 4.0]])
    assert fitted(z, torch.tensor([0])) == 1.0  # always wrong: the best scale is negative
    assert fitted(z * torch.nan, torch.tensor([0])) == 1.0


def test_layers_share_the_scale_and_biases_take_what_has_come_so_far() -> None:
    found = of_layers(8.0, 3)
    assert found == [pytest.approx(pair) for pair in ((2.0, 2.0), (2.0, 4.0), (2.0, 8.0))]


# --- on a network


def started(model: nn.Module, **options: Any) -> Popup:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    masks = so.make_masks(model, 0.6, layers="uniform", seed=3)
    return edge_popup(final_density=0.4, biases="normal", bias_scale=1.0, **options).begin(
        model, optimizer, masks, Streams(5)
    )


@pytest.mark.parametrize("score_biases", [False, True])
def test_a_relu_network_computes_its_logits_times_the_scale(score_biases: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)).double()
    live = started(model, score_biases=score_biases)
    x = torch.randn(32, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before, masks = model(x).detach(), live.masks.digest()
    assert any(bool(layer.bias.any()) for layer in model if isinstance(layer, nn.Linear))
    labels = before.argmax(1)
    scale = live.scale_to(before, labels)
    assert scale == pytest.approx(fitted(before, labels)) and abs(scale - 1) > 0.05
    torch.testing.assert_close(model(x).detach(), scale * before, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        live.show()  # and stays so, from the random weights that are kept beside
    torch.testing.assert_close(model(x).detach(), scale * before, rtol=1e-9, atol=1e-12)
    assert live.masks.digest() == masks


def test_a_loop_of_ones_own_is_told_that_it_has_no_epochs() -> None:
    for option in ("scaling", "restart"):
        model = nn.Linear(6, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        masks = so.make_masks(model, 0.9, layers="uniform", seed=0)
        sparse = so.SparseTraining(model, optimizer, masks, "edge_popup", **{option: True})
        model(torch.ones(1, 6)).sum().backward()
        with pytest.raises(UserError, match=f"rule.edge_popup.{option}: is for trainings of the pipeline"):
            sparse.step()


# --- in a training

RELEASED: dict[str, Any] = {"final_density": 0.3, "levels": 3, "start_density": 0.5}
OPTIONS = TrainOptions(epochs=6, batch_size=5, lr=0.2, schedule="periodic", period="1ep", gamma=0.5)


class Watch(Part):
    """The learning rate of every step, and what the network computes before and after the end of an epoch."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.sums: list[float] = []

    def after_step(self, run: Any) -> None:
        self.rates.append(run.optimizer.param_groups[-1]["lr"])

    def end_epoch(self, run: Any) -> None:
        self.sums.append(sum(float(p.detach().double().abs().sum()) for p in run.model.parameters()))


def train(options: TrainOptions = OPTIONS, parts: Any = (), checkpoint: Any = None, **more: Any) -> Any:
    torch.manual_seed(0)
    model, data, watch = network(width=8), resident(toy(), FACTS, CPU), Watch()
    masks, mine = half_masks(model), PoppedUp(edge_popup(**RELEASED, **more))
    outcome = train_seed(
        model, data, masks, options, Streams(4), CPU, parts=[mine, watch, *parts], checkpoint=checkpoint
    )
    return outcome, model, masks, mine, watch


def test_the_rate_begins_anew_at_each_level() -> None:
    """Six epochs in three levels, half the rate after each epoch: 0.2, 0.1 and again."""
    watch, plain = train(restart=True)[-1], train()[-1]
    steps = len(watch.rates) // 6
    assert watch.rates == [rate for _ in range(3) for rate in [0.2] * steps + [0.1] * steps]
    assert plain.rates == [0.2 * 0.5**epoch for epoch in range(6) for _ in range(steps)]
    curves = train(restart=True)[0].curves
    assert [row["lr"] for row in curves] == [0.2] + [0.2, 0.1] * 3


def test_a_restarted_cosine_is_that_of_a_training_as_long_as_a_level() -> None:
    options = TrainOptions(epochs=6, batch_size=5, lr=0.2, schedule="cosine", warmup="1ep")
    short = TrainOptions(epochs=2, batch_size=5, lr=0.2, schedule="cosine", warmup="1ep")
    assert train(options, restart=True)[-1].rates == 3 * train(short)[-1].rates


def test_the_rate_is_divided_by_the_scales_of_the_epochs_before() -> None:
    outcome, _, _, mine, watch = train(scaling=True)
    steps = len(watch.rates) // 6
    plain = [0.2 * 0.5**epoch for epoch in range(6)]
    scales = [plain[epoch] / watch.rates[epoch * steps] for epoch in range(6)]
    assert scales[0] == 1 and all(a != b for a, b in zip(scales, scales[1:], strict=False))
    assert all(watch.rates[i] == watch.rates[i - i % steps] for i in range(len(watch.rates)))
    last = mine.scale / scales[-1]
    assert mine.arrays()["learned/scale"].tolist() == [mine.scale] and 0 < last < 10
    assert outcome.record["status"] == "ok"


def test_weights_are_those_of_the_start_times_a_root_of_all_scales() -> None:
    _, model, masks, mine, _ = train(scaling=True)
    torch.manual_seed(0)
    first = network(width=8)
    layers = sum(1 for name in masks)
    factor = mine.scale ** (1 / layers)
    for name, mask in masks.items():
        expected = torch.where(mask, factor * first.get_parameter(name), torch.zeros(()))
        torch.testing.assert_close(model.get_parameter(name), expected, rtol=1e-5, atol=1e-7)
    assert abs(factor - 1) > 1e-3


class StopAt(Part):
    def __init__(self, step: int):
        self.left = step

    def after_step(self, run: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise InterruptedError


@pytest.mark.parametrize("step", [1, 4, 5, 6, 10, 13])
def test_resumed_is_uninterrupted_bit_for_bit(step: int, tmp_path: Path) -> None:
    whole = train(scaling=True, restart=True)
    with pytest.raises(InterruptedError):
        train(parts=[StopAt(step + 1)], checkpoint=Checkpointer(tmp_path, 0), scaling=True, restart=True)
    checkpoint = Checkpointer(tmp_path, 1e9)
    again = train(parts=[StopAt(999)], checkpoint=checkpoint, scaling=True, restart=True)
    assert checkpoint.resumed_at == step
    assert canonical(again[0].record) == canonical(whole[0].record) and again[0].curves == whole[0].curves
    arrays = [run_arrays(model, masks) | mine.arrays() for _, model, masks, mine, _ in (whole, again)]
    assert arrays[0].keys() == arrays[1].keys()
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])


def test_without_the_options_a_training_is_what_it_was() -> None:
    outcome, *_, mine, _ = train()
    assert "learned/scale" not in mine.arrays() and mine.scale == 1.0 and outcome.record["status"] == "ok"


def test_levels_that_are_no_whole_epochs_cannot_restart() -> None:
    with pytest.raises(UserError, match="rule.edge_popup.restart: needs levels of whole epochs, and there are 7"):
        train(TrainOptions(epochs=7, batch_size=5), restart=True)


# --- the plan

RAW: dict[str, Any] = {"data": "digits", "model": "lenet300_100", "mask": "erk", "init": "kaiming", "density": 0.5}


@pytest.mark.parametrize(
    ("rule", "train", "words"),
    [
        ({"levels": 3, "restart": True}, {"epochs": 10}, "here.rule.restart: needs levels of whole epochs"),
        ({"scaling": True}, {"ranks": 2}, "here.rule.scaling: is fitted by one process"),
    ],
)
def test_the_plan_refuses_in_one_sentence(rule: dict[str, Any], train: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        resolve_cell(RAW | {"rule": {"name": "edge_popup", "final_density": 0.2, **rule}, "train": train}, "here")


def test_defaults_keep_the_identity_of_older_cells() -> None:
    plain = resolve_cell(RAW | {"rule": {"name": "edge_popup", "final_density": 0.2}}, "here").id
    rule = {"name": "edge_popup", "final_density": 0.2, "restart": False, "scaling": False}
    assert resolve_cell(RAW | {"rule": rule}, "here").id == plain
    assert resolve_cell(RAW | {"rule": rule | {"scaling": True}}, "here").id != plain
