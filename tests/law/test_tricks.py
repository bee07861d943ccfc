"""Tricks: what they are while they are on, and the plain network afterwards, bit for bit the same after a resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sparse_ortho as so
from sparse_ortho.artifacts import canonical, write_tensors
from sparse_ortho.errors import UserError
from sparse_ortho.models.deep_resnet import deep_resnet
from sparse_ortho.models.mlp import mlp
from sparse_ortho.models.residual import Block
from sparse_ortho.models.resnet import cifar_resnet
from sparse_ortho.models.vgg import vgg
from sparse_ortho.models.wide_resnet import wide_resnet
from sparse_ortho.registry import load
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.losses import cross_entropy
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.resident import resident
from sparse_ortho.training.runs import run_arrays
from sparse_ortho.training.tricks import Tricked
from sparse_ortho.tricks.functions import BLENDED, swish

CPU = torch.device("cpu")
IMAGE = (1, 8, 8)


def net(kind: str = "resnet") -> nn.Module:
    torch.manual_seed(0)
    if kind == "mlp":
        return mlp(IMAGE, 3, depth=4, width=8, activation="relu")
    if kind == "wide_resnet":
        return wide_resnet(IMAGE, 3, depth=10, widen=1)
    if kind == "vgg":
        return vgg((1, 32, 32), 3, depth=11, norm=True)
    return cifar_resnet(IMAGE, 3, depth=8, width=4)


def images(kind: str = "resnet", n: int = 5) -> torch.Tensor:
    size = 32 if kind == "vgg" else 8
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(1))


# --- soft activations


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


FORMULAS: dict[str, Any] = {
    "bent_identity": lambda x: (np.sqrt(x**2 + 1) - 1) / 2 + x,
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "gelu": lambda x: x * np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]),
    "lisht": lambda x: x * np.tanh(x),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "smooth_gradient": lambda x: np.maximum(x, 0),
    "smooth_relu": lambda x: np.maximum(x, 0) - np.log(200 * np.maximum(x, 0) + 1) / 200,
    "softplus": lambda x: np.log1p(np.exp(x)),
}


def test_every_soft_activation_is_its_formula() -> None:
    x = np.array([-4.0, -1.0, -0.1, 0.0, 0.2, 1.5, 6.0])
    assert FORMULAS.keys() == BLENDED.keys()
    for kind, formula in FORMULAS.items():
        np.testing.assert_allclose(BLENDED[kind](torch.from_numpy(x)), formula(x), atol=1e-12, err_msg=kind)
    for beta in (1.0, 2.0, 20.0):
        found = swish(torch.from_numpy(x), torch.tensor(beta, dtype=torch.float64))
        np.testing.assert_allclose(found, x * sigmoid(beta * x), atol=1e-12)


def test_the_smoothed_gradient_is_a_sigmoid_of_ten_x() -> None:
    x = torch.tensor([-0.3, 0.0, 0.05], dtype=torch.float64, requires_grad=True)
    BLENDED["smooth_gradient"](x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, sigmoid(10 * x.detach().numpy()), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "at", "beta"),
    [
        ({}, 0.0, 1.0),
        ({}, 0.25, math.sqrt(20)),
        ({"kind": "pswish"}, 0.0, 2.0),
        ({"fraction": 1.0, "beta_max": 16.0}, 0.75, 8.0),
        ({"always_on": True}, 0.9, 1.0),
        ({"always_on": True, "kind": "pswish"}, 1.0, 2.0),
        ({"always_on": True, "beta0": 3.0}, 0.5, 3.0),
    ],
)
def test_the_sharpness_moves_geometrically(options: dict[str, Any], at: float, beta: float) -> None:
    model = nn.Sequential(nn.ReLU())
    softened = so.soften_(model, **options)
    softened.step(at)
    x = torch.linspace(-3, 3, 13)
    np.testing.assert_allclose(model(x), x.numpy() * sigmoid(beta * x.numpy()), atol=1e-6)


@pytest.mark.parametrize(("at", "blend"), [(0.0, 0.0), (0.1, 0.2), (0.4, 0.8)])
def test_other_kinds_are_blended_with_relu(at: float, blend: float) -> None:
    model = nn.Sequential(nn.ReLU())
    so.soften_(model, "mish").step(at)
    x = np.linspace(-3, 3, 13)
    expected = (1 - blend) * FORMULAS["mish"](x) + blend * np.maximum(x, 0)
    np.testing.assert_allclose(model(torch.from_numpy(x)), expected, atol=1e-7)


@pytest.mark.parametrize("kind", ["mlp", "resnet", "wide_resnet", "vgg"])
def test_after_the_schedule_the_network_is_the_plain_one(kind: str) -> None:
    model, plain, x = net(kind), net(kind).eval(), images(kind)
    modules = [id(module) for module in model.modules()]
    softened = so.soften_(model, "swish", learnable=True)
    ghosts = so.ghost_skips_(model, "conv1x1" if "resnet" in kind else "identity") if kind != "vgg" else None
    assert list(model.state_dict()) == list(plain.state_dict())
    assert not any(isinstance(module, nn.ReLU) for module in model.modules())
    model.eval()
    assert (model(x) - plain(x)).abs().max() > 1e-5
    softened.step(0.5)
    if ghosts:
        ghosts.step(0.5)
    assert [id(module) for module in model.modules()] == modules
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert list(model.state_dict()) == list(plain.state_dict()) and not any(m.training for m in model.modules())
    torch.testing.assert_close(model(x), plain(x), rtol=0, atol=1e-6)
    softened.step(0.1)  # what is over does not come back
    torch.testing.assert_close(model(x), plain(x), rtol=0, atol=1e-6)


def test_a_relu_that_stands_in_two_places_is_softened_and_put_back_in_both() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(relu, nn.Linear(2, 2), relu)
    softened = so.soften_(model, "elu")
    assert model[0] is model[2] is not relu
    softened.finish()
    assert model[0] is model[2] is relu


def test_what_cannot_be_softened_is_one_sentence() -> None:
    with pytest.raises(UserError, match="no ReLU module to soften"):
        so.soften_(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    with pytest.raises(UserError, match="unknown soft activation .*did you mean 'swish'"):
        so.soften_(net(), "swich")
    with pytest.raises(UserError, match="tricks.soft.learnable: only swish and pswish have a beta"):
        so.soften_(net(), "mish", learnable=True)
    with pytest.raises(UserError, match=r"tricks.soft.fraction: out of range \(found 0\)"):
        so.soften_(net(), fraction=0)


# --- ghost skips


def test_ghosts_of_resnet18_have_the_published_number_of_weights() -> None:
    model = deep_resnet((3, 32, 32), 100, stem="cifar", head_bias=False)
    ghosts = so.ghost_skips_(model)
    convolutions = [p for p in ghosts.parameters() if p.ndim == 4]
    assert sum(p.numel() for p in convolutions) == 1_220_608
    norms = 2 * 2 * 2 * 2 * (64 + 128 + 256 + 512)  # weight and bias, two branches a block, two blocks a stage
    assert ghosts.size == 1_220_608 + norms // 2
    assert all((p == 1e-4).all() for p in convolutions)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.2])
def test_a_ghost_is_added_before_each_activation_of_a_block(alpha: float) -> None:
    torch.manual_seed(0)
    block = Block(3, 6, "relu")
    ghosts = so.ghost_skips_(block, fraction=1.0)
    for parameter in ghosts.parameters():
        nn.init.normal_(parameter)
    ghosts.step(1 - alpha)
    x = torch.randn(4, 3, 6, 6)
    (c1, n1), (c2, n2) = ((branch[0], branch[1]) for branch in ghosts.extra.children())  # type: ignore[index]
    h = block.bn1.forward(block.conv1.forward(x))  # forward: around the hooks
    h = torch.relu(h + alpha * n1(c1(x)))
    expected = torch.relu(block.bn2.forward(block.conv2.forward(h)) + block.shortcut(x) + alpha * n2(c2(h)))
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-6)
    assert c1.stride == (2, 2) and c2.stride == (1, 1)


def test_an_identity_goes_around_square_layers_but_not_the_last() -> None:
    torch.manual_seed(0)
    model = mlp((2, 2), 4, depth=4, width=4, activation="relu")
    ghosts = so.ghost_skips_(model, "identity", decay="cosine")
    assert ghosts.size == 0
    ghosts.step(0.25)  # half of the schedule: cosine is at 1/2
    h = x = torch.randn(5, 4)
    for layer in list(model.layers)[:-1]:
        h = torch.relu(h @ layer.weight.T + layer.bias + 0.5 * h)
    last = model.layers[-1]
    torch.testing.assert_close(model(x.view(5, 2, 2)), h @ last.weight.T + last.bias)


def test_the_statistics_of_a_ghost_follow_the_mode_of_its_place() -> None:
    model, x = net(), images()
    ghosts = so.ghost_skips_(model)
    norm = next(module for module in ghosts.extra.modules() if isinstance(module, nn.BatchNorm2d))
    model.eval()(x)
    assert norm.running_mean is not None and not norm.running_mean.any()
    model.train()(x)
    assert norm.running_mean.any()


def test_a_network_without_a_place_is_refused() -> None:
    with pytest.raises(UserError, match="no residual block of two or three convolutions; kind: identity has a place"):
        so.ghost_skips_(net("mlp"))
    with pytest.raises(UserError, match="no square layer"):
        so.ghost_skips_(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), "identity")


# --- label smoothing


@pytest.mark.parametrize("over", ["others", "uniform"])
def test_smoothed_labels_are_their_closed_form(over: str) -> None:
    z, y, a, classes = np.array([[0.3, -1.0, 2.0], [1.0, 0.0, -0.5]]), np.array([2, 1]), 0.2, 3
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    q = np.full((2, classes), a / (classes - 1) if over == "others" else a / classes)
    q[[0, 1], y] = 1 - a if over == "others" else 1 - a + a / classes
    part = Tricked("smoothing", load("tricks", "smoothing")(alpha=a, over=over))
    part.attached = part.trick.attach(nn.Identity())
    found = part.loss(torch.from_numpy(z), torch.from_numpy(y))
    assert found is not None
    np.testing.assert_allclose(float(found), -(q * log_p).sum(1).mean(), rtol=1e-12)


@pytest.mark.parametrize(
    ("decay", "values"),
    [("linear", [0.2, 0.15, 0.1, 0.05, 0, 0]), ("constant", [0.2, 0.2, 0.2, 0.2, 0, 0])]
    + [("cosine", [0.2, 0.1 + 0.1 * math.sqrt(0.5), 0.1, 0.1 - 0.1 * math.sqrt(0.5), 0, 0])],
)
def test_smoothing_decays(decay: str, values: list[float]) -> None:
    attached = load("tricks", "smoothing")(alpha=0.2, decay=decay, fraction=0.8).attach(nn.Identity())
    found = []
    for t in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        attached.step(t)
        found.append(attached.smoothing()[0])
    np.testing.assert_allclose(found, values, atol=1e-12)


# --- in a training


def data(n: int = 22) -> Any:
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 17, (n + 8, *IMAGE)).astype(np.uint8)
    parts = {"train": np.arange(n), "validation": np.arange(n, n + 4), "test": np.arange(n + 4, n + 8)}
    facts = {"shape": IMAGE, "classes": 3, "mean": (0.4,), "std": (0.25,), "scale": 16.0}
    arrays = {"images": pictures, "labels": pictures[:, 0, 0, 0].astype(np.int64) % 3, **parts}
    return resident(arrays, facts, CPU)


class Stop(Exception):
    pass


class StopAt(Part):
    """Raises before the optimizer's n-th step of this process, whether float16 would skip it or not."""

    def __init__(self, steps: int):
        self.left = steps

    def before_step(self, run: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stop


class Watch(Part):
    """What is beside the network after every step: groups of the optimizer, extra parameters, sharpness."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def after_step(self, run: Any) -> None:
        self.seen.append((len(run.optimizer.param_groups), len(run.extra)))


def train(
    tricks: dict[str, dict[str, Any]],
    stop: int = 0,
    checkpoint: Checkpointer | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> tuple[nn.Module, Any, list[Tricked]]:
    torch.set_num_threads(1)
    model = net("mlp" if tricks.get("ghost", {}).get("kind") == "identity" else "resnet")
    masks = dict(so.make_masks(model, 0.5, seed=0))
    parts = [Tricked(name, load("tricks", name)(**told)) for name, told in tricks.items()]
    given = TrainOptions(**{"epochs": 3, "batch_size": 6, "lr": 0.05, **options})
    loop: dict[str, Any] = {"parts": [*parts, watch or Watch(), StopAt(stop)], "checkpoint": checkpoint}
    outcome = train_seed(model, data(), masks, given, Streams(3), CPU, **loop)
    for name, mask in masks.items():
        assert not model.get_parameter(name)[~mask].any()
    return model, outcome, parts


def left_behind(model: nn.Module, outcome: Any, parts: list[Tricked]) -> tuple[Any, ...]:
    weights = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    kept = {name: array.tobytes() for part in parts for name, array in part.arrays().items()}
    return weights, kept, canonical(outcome.record), canonical(outcome.curves)


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "swish": ({"soft": {}}, {}),
    "learnable": ({"soft": {"learnable": True, "always_on": True}}, {"clip_norm": 0.5, "decay": "weights"}),
    "mish": ({"soft": {"kind": "mish", "fraction": 0.9}}, {}),
    "ghost": ({"ghost": {}}, {"optimizer": "adam", "lr": 0.01}),
    "ghost always": ({"ghost": {"always_on": True}}, {"clip_norm": 0.5, "decay": "weights"}),
    "identity": ({"ghost": {"kind": "identity"}}, {"ema": 0.9}),
    "smoothing": ({"smoothing": {}}, {}),
    "two ends": ({"ghost": {"fraction": 0.4}, "soft": {"learnable": True, "fraction": 0.8}}, {}),
    "all in half": (
        {"ghost": {}, "smoothing": {"decay": "cosine"}, "soft": {"learnable": True}},
        {"precision": "fp16"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_trick_resumes_to_the_same_bytes(tmp_path: Path, kind: str) -> None:
    tricks, options = KINDS[kind]
    whole = left_behind(*train(tricks, **options))
    for stop in (3, 3, 2):  # saved after the 2nd step, the 4th (an epoch has 4) and the 5th
        with pytest.raises(Stop):
            train(tricks, stop, Checkpointer(tmp_path, 0), **options)
    with pytest.raises(Stop):
        train(tricks, 4, Checkpointer(tmp_path, 0), **options)
    again = Checkpointer(tmp_path, 0)
    watch = Watch()
    assert left_behind(*train(tricks, checkpoint=again, watch=watch, **options)) == whole
    assert again.resumed_at and again.resumed_at >= 8
    if not any(told.get("always_on") for told in tricks.values()):
        assert watch.seen[-1] == (1, 0)


def test_a_trick_with_other_options_is_another_run(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train({"smoothing": {}}, 5, Checkpointer(tmp_path, 0))
    again = Checkpointer(tmp_path, 0)
    train({"smoothing": {"alpha": 0.2}}, checkpoint=again)
    assert again.resumed_at is None


def test_the_parameters_of_a_trick_train_until_it_ends_and_are_counted() -> None:
    watch = Watch()
    model, outcome, parts = train({"ghost": {}, "soft": {"learnable": True, "fraction": 0.75}}, watch=watch)
    shapes = [(4, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
    branches = sum(a * b + 2 * b for a, b in shapes)
    assert outcome.record["extra_parameters"] == branches + 7 and outcome.record["extra_parameters_kept"] == 0
    assert parts[0].attached.size == branches
    # 12 steps: ghosts (one group) end after the 6th, sharpness (one group) after the 9th
    assert watch.seen == [(3, 18 + 7)] * 5 + [(2, 7)] * 3 + [(1, 0)] * 4
    factors = list(parts[1].attached.parameters())
    assert len(factors) == 7 and all(float(factor.detach()) != 1 for factor in factors)
    assert list(model.state_dict()) == list(net().state_dict())
    assert not [h for m in model.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]


def test_the_trained_network_needs_nothing_of_its_tricks() -> None:
    model, outcome, _ = train({"soft": {}, "ghost": {}, "smoothing": {}})
    plain = net()
    plain.load_state_dict(model.state_dict())
    split = data()["test"]
    x, y = split.take(torch.arange(4))
    torch.testing.assert_close(model.eval()(x), plain.eval()(x), rtol=0, atol=1e-6)
    assert outcome.record["test_loss_last"] == pytest.approx(cross_entropy(plain(x), y).item(), rel=1e-5)


def test_a_smoothed_training_is_that_of_the_train_option() -> None:
    """always_on, in PyTorch's form, is train.label_smoothing."""
    one = train({"smoothing": {"alpha": 0.1, "over": "uniform", "always_on": True}})[0].state_dict()
    other = train({}, label_smoothing=0.1)[0].state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_with_a_trick_that_stays_on_is_read_back_with_it(tmp_path: Path) -> None:
    tricks = {"ghost": {"always_on": True}, "soft": {"always_on": True, "learnable": True}}
    model, outcome, parts = train(tricks)
    assert outcome.record["extra_parameters_kept"] == outcome.record["extra_parameters"] > 0
    arrays = run_arrays(model, None) | {k: v for part in parts for k, v in part.arrays().items()}
    network = {"model": {"name": "resnet", "depth": 8, "width": 4}, "shape": list(IMAGE), "classes": 3}
    write_tensors(tmp_path / "run.safetensors", arrays, network | {"spec": {"tricks": tricks}})
    again, _ = so.load_run(tmp_path / "run.safetensors")
    x = images()
    torch.testing.assert_close(again.eval()(x), model.eval()(x), rtol=0, atol=1e-6)
    plain = net()
    plain.load_state_dict(model.state_dict())
    assert not torch.allclose(plain.eval()(x), model(x), atol=1e-3)


def test_nothing_is_trained_and_the_network_is_plain_all_the_same() -> None:
    model, outcome, _ = train({"soft": {}, "ghost": {}}, epochs=0)
    assert outcome.record["steps"] == 0 and any(isinstance(m, nn.ReLU) for m in model.modules())


def test_own_parameters_refuse_what_would_leave_them_out() -> None:
    with pytest.raises(UserError, match="train.ema averages no parameters but the network's"):
        train({"ghost": {"always_on": True}}, ema=0.9)
