"""Plain networks against their definition, written out in numpy in float64 with weights in the order of the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sparse_ortho import registry
from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.models.mlp import mlp
from sparse_ortho.models.vgg import blocks
from sparse_ortho.models.vgg_imagenet import Average


def build(name: str, shape: tuple[int, ...], classes: int = 10, **options: Any) -> nn.Module:
    return registry.load("models", name)(shape, classes, **options)


class Oracle:
    """Layers in numpy; each takes its tensors from the front of the state, so the order is checked as well."""

    def __init__(self, model: nn.Module):
        self.tensors = [tensor.numpy() for tensor in model.state_dict().values()]

    def take(self, count: int) -> list[np.ndarray]:
        taken, self.tensors = self.tensors[:count], self.tensors[count:]
        return taken

    def conv(self, x: np.ndarray, stride: int = 1, pad: int = 0, mode: Any = "constant", bias: bool = True):
        weight, shift = self.take(2) if bias else (*self.take(1), 0.0)
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode=mode)
        windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3))[:, :, ::stride, ::stride]
        y = np.tensordot(windows, weight, axes=((1, 4, 5), (1, 2, 3)))  # images, rows, columns, outputs
        return (y + shift).transpose(0, 3, 1, 2)

    def linear(self, x: np.ndarray) -> np.ndarray:
        weight, shift = self.take(2)
        return x.reshape(len(x), -1) @ weight.T + shift

    def norm(self, x: np.ndarray) -> np.ndarray:
        scale, shift, mean, variance, _ = self.take(5)
        column = (slice(None), *[None] * (x.ndim - 2))
        return (x - mean[column]) / np.sqrt(variance + 1e-5)[column] * scale[column] + shift[column]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def pool(x: np.ndarray) -> np.ndarray:
    """The maximum of blocks of 2 x 2; an odd last row or column is left out."""
    h, w = x.shape[2] // 2, x.shape[3] // 2
    return x[:, :, : 2 * h, : 2 * w].reshape(*x.shape[:2], h, 2, w, 2).max((3, 5))


def _lenet5(o: Oracle, x: np.ndarray) -> np.ndarray:
    x = pool(relu(o.conv(x)))
    x = pool(relu(o.conv(x)))
    return o.linear(relu(o.linear(x)))


def _alexnet(o: Oracle, x: np.ndarray) -> np.ndarray:
    for pad in (2, 2, 1, 1, 1):
        x = relu(o.norm(o.conv(x, stride=2, pad=pad)))
    for _ in range(2):
        x = relu(o.norm(o.linear(x)))
    return o.linear(x)


def _vgg11(o: Oracle, x: np.ndarray) -> np.ndarray:
    for block, count in enumerate((1, 1, 2, 2, 2)):
        for _ in range(count):
            x = relu(o.norm(o.conv(x, pad=1, bias=False)))
        x = pool(x) if block < 4 else x
    return o.linear(x.mean((2, 3)))


def _vgg13_without_norm(o: Oracle, x: np.ndarray) -> np.ndarray:
    for block in range(5):
        x = np.tanh(o.conv(np.tanh(o.conv(x, pad=1)), pad=1))
        x = pool(x) if block < 4 else x
    return o.linear(x.mean((2, 3)))


def _vgg_snip(hidden: int) -> Callable[[Oracle, np.ndarray], np.ndarray]:
    def forward(o: Oracle, x: np.ndarray) -> np.ndarray:
        for count in (2, 2, 3, 3, 3):
            for _ in range(count):
                x = relu(o.norm(o.conv(x, pad=1)))
            x = pool(x)
        for _ in range(hidden):
            x = o.norm(relu(o.linear(x)))
        return o.linear(x)

    return forward


def _conv_cifar10(o: Oracle, x: np.ndarray) -> np.ndarray:
    x = pool(relu(o.conv(x)))
    x = pool(relu(o.conv(x)))
    return o.linear(relu(o.conv(x)).mean((2, 3)))


def _convnet_cifar10(o: Oracle, x: np.ndarray) -> np.ndarray:
    for _ in range(4):
        x = pool(relu(o.conv(x, pad=1)))
    return o.linear(relu(o.conv(x, pad=1)))


def _deep_conv(o: Oracle, x: np.ndarray) -> np.ndarray:
    for stride in (1, 2, 2, 1, 1):
        x = np.tanh(o.conv(x, stride=stride, pad=1, mode="wrap"))
    h, w = x.shape[2] // 2, x.shape[3] // 2
    return o.linear(x[:, :, : 2 * h, : 2 * w].reshape(*x.shape[:2], h, 2, w, 2).mean((3, 5)))


def _vanilla(o: Oracle, x: np.ndarray) -> np.ndarray:
    for stride in (1, 2, 2, 1, 1, 2, 1, 1, 2):
        x = np.tanh(o.conv(x, stride=stride, pad=1))
    return o.linear(x)


def _tabular(o: Oracle, x: np.ndarray) -> np.ndarray:
    for _ in range(3):
        x = o.norm(relu(o.linear(x)))
    return o.linear(x)


def _two_hidden(o: Oracle, x: np.ndarray) -> np.ndarray:
    return o.linear(relu(o.linear(relu(o.linear(x)))))


FORWARD: list[tuple[str, dict[str, Any], tuple[int, ...], Any]] = [
    ("lenet300_100", {}, (1, 4, 5), _two_hidden),
    ("lenet5", {}, (1, 28, 28), _lenet5),
    ("lenet5", {}, (3, 17, 20), _lenet5),
    ("alexnet", {"hidden": 8}, (3, 32, 32), _alexnet),
    ("alexnet", {"hidden": 8}, (1, 37, 28), _alexnet),
    ("vgg", {"depth": 11}, (3, 32, 32), _vgg11),
    ("vgg", {"depth": 13, "norm": False, "activation": "tanh"}, (1, 17, 16), _vgg13_without_norm),
    ("vgg_c", {}, (3, 32, 32), _vgg_snip(2)),
    ("vgg_c", {}, (1, 7, 13), _vgg_snip(2)),
    ("vgg_d", {}, (3, 32, 32), _vgg_snip(2)),
    ("vgg_like", {}, (1, 32, 33), _vgg_snip(1)),
    ("conv_cifar10", {}, (3, 32, 32), _conv_cifar10),
    ("chollet_convnet", {}, (3, 32, 32), _convnet_cifar10),
    ("chollet_convnet", {}, (1, 17, 34), _convnet_cifar10),
    ("deep_conv", {"depth": 8, "width": 4}, (3, 32, 32), _deep_conv),
    ("deep_conv", {"depth": 8, "width": 4}, (1, 5, 9), _deep_conv),
    ("vanilla", {"depth": 6, "width": 4}, (3, 32, 32), _vanilla),
    ("vanilla", {"depth": 6, "width": 4}, (1, 9, 2), _vanilla),
    ("tabular", {}, (16,), _tabular),
    ("mlp", {"hidden": (6, 5), "activation": "relu"}, (3, 4), _two_hidden),
]


@pytest.mark.parametrize(("name", "options", "shape", "forward"), FORWARD)
@torch.no_grad()
def test_a_network_is_its_definition(name: str, options: dict[str, Any], shape: tuple[int, ...], forward: Any) -> None:
    torch.manual_seed(0)
    model = build(name, shape, 7, **options).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):  # far from doing nothing
            for kind, tensor in module.state_dict().items():
                if kind in ("weight", "running_var"):
                    nn.init.uniform_(tensor, 0.5, 1.5)
                elif kind in ("bias", "running_mean"):
                    nn.init.normal_(tensor, 0, 0.1)
    x, oracle = torch.randn(2, *shape, dtype=torch.float64), Oracle(model)
    expected = forward(oracle, x.numpy())
    assert not oracle.tensors  # every tensor was used
    torch.testing.assert_close(model(x), torch.from_numpy(expected), rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_the_vgg_of_imagenet_is_torchvisions() -> None:
    from torchvision.models import vgg as torchvision_vgg

    torch.manual_seed(0)
    model = build("vgg_imagenet", (3, 70, 96), 6, depth=11, hidden=8).eval()
    theirs = nn.Sequential(
        torchvision_vgg.make_layers(torchvision_vgg.cfgs["A"], batch_norm=True),
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        *(nn.Linear(512 * 49, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 6)),
    ).eval()
    state = model.state_dict()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values(), strict=True)))
    x = torch.randn(2, 3, 70, 96)
    torch.testing.assert_close(model(x), theirs(x))


@pytest.mark.parametrize("height", [1, 2, 5, 7, 8, 14, 20])
def test_the_average_over_a_grid_is_torchs(height: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, height, 10, dtype=torch.float64)
    torch.testing.assert_close(Average(height, 10).double()(x), nn.AdaptiveAvgPool2d(7)(x))


@torch.no_grad()
def test_maps_of_vgg_c_grow_at_its_padded_1x1_kernels() -> None:
    model, sides = build("vgg_c", (3, 32, 32)).eval(), [32]
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            module.register_forward_hook(lambda _module, _inputs, y: sides.append(y.shape[-1]))
    model(torch.zeros(1, 3, 32, 32))
    changes = [b for a, b in zip([0, *sides], sides, strict=False) if a != b]
    assert changes == [32, 16, 8, 10, 5, 7, 3, 5, 2]
    assert [tuple(w.shape[2:]) for w in maskable(model).values() if w.ndim == 4].count((1, 1)) == 3


# activations -------------------------------------------------------------------------------------------------------

PLAIN = [
    *("alexnet", "chollet_convnet", "conv_cifar10", "deep_conv", "lenet300_100", "lenet5", "mlp", "tabular"),
    *("vanilla", "vgg", "vgg_c", "vgg_d", "vgg_imagenet", "vgg_like"),
]


@pytest.mark.parametrize("name", PLAIN)
def test_every_layer_but_the_last_has_an_activation_of_its_own(name: str) -> None:
    """Also VGG, of which one released program keeps a single one."""
    with torch.device("meta"):
        model = build(name, (3, 32, 32), activation="selu")
    assert sum(isinstance(module, nn.SELU) for module in model.modules()) == len(maskable(model)) - 1


# sizes -------------------------------------------------------------------------------------------------------------

LEAST = {
    "alexnet": 7,
    "chollet_convnet": 16,
    "conv_cifar10": 18,
    "deep_conv": 5,
    "lenet5": 16,
    "vanilla": 1,
    "vgg": 16,
    "vgg_c": 4,
    "vgg_d": 32,
    "vgg_imagenet": 32,
    "vgg_like": 32,
}


@pytest.mark.parametrize("name", LEAST)
@torch.no_grad()
def test_images_of_any_size_from_the_least_on_give_logits(name: str) -> None:
    for shape in ((1, LEAST[name], LEAST[name]), (3, 64, 64), (2, 32, 45)):
        with torch.device("meta"):
            assert build(name, shape, 5)(torch.zeros(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize("name", LEAST)
def test_shapes_that_a_network_cannot_take_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"^model: {name} takes images of channels x height x width"):
        build(name, (24,))
    side = LEAST[name] - 1
    for shape in ((3, side, 64), (3, 64, side)):
        with pytest.raises(UserError, match=f"^model: {name} takes images of at least {side + 1} x {side + 1}"):
            build(name, shape)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", [name for name, side in LEAST.items() if side > 1])
def test_one_pixel_less_would_leave_no_map(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the least size refuses no image that a network could take."""
    function = registry.load("models", name)
    monkeypatch.setitem(function.__globals__, "image_shape", lambda shape, *_, **__: shape)
    side = LEAST[name] - 1
    with torch.device("meta"), pytest.raises(RuntimeError):
        function((3, side, side), 5)(torch.zeros(2, 3, side, side))


# options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("alexnet", {"hidden": 0}, "model.hidden: must be at least 1"),
        ("deep_conv", {"depth": 5}, "model.depth: must be at least 6"),
        ("deep_conv", {"width": 0}, "model.width: must be at least 1"),
        ("mlp", {"hidden": (5, 0)}, "model.hidden: must be at least 1 each"),
        ("mlp", {"hidden": (5,), "depth": 3}, "model.hidden: gives the layers"),
        ("mlp", {"hidden": (5,), "width": 3}, "model.hidden: gives the layers"),
        ("mlp", {"dropout": 1.0}, "model.dropout"),
        ("mlp", {"dropout": -0.1}, "model.dropout"),
        ("tabular", {"hidden": ()}, "model.hidden: needs at least one width"),
        ("tabular", {"hidden": (3, 0)}, "model.hidden: needs at least one width"),
        ("vanilla", {"depth": 7}, "model.depth: must be even"),
        ("vanilla", {"depth": 2}, "model.depth: must be even"),
        ("vanilla", {"width": 0}, "model.width: must be at least 1"),
        ("vgg", {"depth": 12}, "model.depth: must be one of the VGG networks .found 12.; allowed: 11, 13, 16, 19"),
        ("vgg_imagenet", {"hidden": 0}, "model.hidden: must be at least 1"),
        ("vgg_imagenet", {"dropout": 1.0}, "model.dropout"),
        ("vgg", {"activation": "rule"}, "model.activation: unknown activation .*did you mean 'relu'"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        build(name, (3, 32, 32), **options)


def test_hidden_widths_stand_for_depth_and_width() -> None:
    torch.manual_seed(0)
    one = mlp((1, 4, 4), 10, depth=4, width=9)
    torch.manual_seed(0)
    other = mlp((1, 4, 4), 10, hidden=(9, 9, 9))
    for (name, a), (same, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert name == same and torch.equal(a, b)


@torch.no_grad()
def test_dropout_stands_before_each_layer_and_ends_with_training() -> None:
    """Where all layers are the identity, a one survives three times with probability 0.75, and grows by 1 / 0.75."""
    torch.manual_seed(0)
    n = 1000
    model = mlp((n,), n, hidden=(n, n), activation="linear", dropout=0.25)
    for parameter in model.parameters():
        parameter.copy_(torch.eye(n) if parameter.ndim == 2 else torch.zeros(n))
    ones = torch.ones(8, n)
    assert torch.equal(model.eval()(ones), ones)
    y, p = model.train()(ones), 0.75**3
    torch.testing.assert_close(y, (y > 0) / p)
    assert abs((y > 0).float().mean().item() - p) < 5 * (p * (1 - p) / (8 * n)) ** 0.5


def test_without_dropout_nothing_is_drawn() -> None:
    model, before = mlp((5,), 3), torch.get_rng_state()
    model.train()(torch.ones(2, 5))
    assert torch.equal(torch.get_rng_state(), before)


# depth -------------------------------------------------------------------------------------------------------------


def test_an_orthogonal_deep_convolution_keeps_the_norm_through_994_layers() -> None:
    """Circular padding makes delta-orthogonal kernels isometries, so a step reaches the first of 998 layers."""
    torch.manual_seed(0)
    model = build("deep_conv", (3, 16, 16), depth=1000, width=16, activation="linear")
    maps: list[torch.Tensor] = []
    with torch.no_grad():
        for layer in model.get_submodule("layers").children():
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            layer.weight.zero_()
            nn.init.orthogonal_(layer.weight[:, :, 1, 1])
            layer.bias.zero_()
            layer.register_forward_hook(lambda _module, _inputs, y: maps.append(y.detach()))
    x, y = torch.randn(2, 3, 16, 16), torch.tensor([0, 1])
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    assert len(maps) == 997
    torch.testing.assert_close(maps[-1].norm(), maps[2].norm(), rtol=1e-4, atol=0)
    gradients = [model.get_parameter(f"layers.{i}.weight").grad for i in (3, 996)]
    first, last = (gradient.norm() for gradient in gradients if gradient is not None)
    assert 0.5 < first / last < 2
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.sub_(parameter.grad, alpha=1e-5)
    assert nn.functional.cross_entropy(model(x), y) < loss - 1e-3


def test_convolutions_of_a_vgg_are_named_as_in_the_paper() -> None:
    names = [name for name, module in blocks(3, 13, "relu", norm=False, bias=True) if isinstance(module, nn.Conv2d)]
    assert names == [f"conv{block}_{i}" for block in range(1, 6) for i in (1, 2)]
