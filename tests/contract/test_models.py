"""What every registered model keeps: shapes, meta device, gradients everywhere, refusals in one sentence."""

from __future__ import annotations

import functools

import pytest
import torch

from sparse_ortho import registry
from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.models.activations import ACTIVATIONS, activation
from sparse_ortho.models.mlp import mlp
from sparse_ortho.models.resnet import Block, cifar_resnet

SHAPES = {
    "lenet300_100": [(1, 28, 28)],
    "lenet5": [(1, 28, 28), (3, 32, 32)],
    "mlp": [(1, 8, 8), (1, 28, 28), (3, 32, 32), (24,)],
    "resnet": [(1, 8, 8), (1, 28, 28), (3, 32, 32)],
    "tabular": [(16,), (1, 8, 8)],
}
OPTIONS = {"vgg_imagenet": {"hidden": 64}}  # 134 million weights otherwise
CASES = [(name, shape) for name in registry.table("models") for shape in SHAPES.get(name, [(3, 32, 32)])]


def builder(name):
    return functools.partial(registry.load("models", name), **OPTIONS.get(name, {}))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_gives_logits_of_the_classes_asked_for(name, shape):
    torch.manual_seed(0)
    model = builder(name)(shape, 7)
    assert model(torch.randn(4, *shape)).shape == (4, 7)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_on_the_meta_device_has_the_same_parameters(name, shape):
    build = builder(name)
    with torch.device("meta"):
        shadow = build(shape, 10)
    assert all(p.is_meta for p in shadow.parameters())
    shapes = {n: p.shape for n, p in build(shape, 10).named_parameters()}
    assert {n: p.shape for n, p in shadow.named_parameters()} == shapes


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_gradients_reach_every_parameter(name, shape):
    torch.manual_seed(0)
    model = builder(name)(shape, 10)
    torch.nn.functional.cross_entropy(model(torch.randn(8, *shape)), torch.arange(8)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_has_maskable_weights_in_forward_order(name, shape):
    model = builder(name)(shape, 10)
    found = maskable(model)
    assert found and list(found) == [n for n in dict(model.named_parameters()) if n in found]


def test_mlp_names_are_readable():
    assert list(dict(mlp((1, 2, 2), 3, depth=2, width=5).named_parameters())) == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    ]


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_mlp_activates_all_layers_but_the_last(depth):
    torch.manual_seed(0)
    model, x = mlp((2, 3, 1), 4, depth=depth, width=5), torch.randn(9, 2, 3, 1)
    state, h = model.state_dict(), x.reshape(9, 6)
    for i in range(depth):
        h = (torch.tanh(h) if i else h) @ state[f"layers.{i}.weight"].T + state[f"layers.{i}.bias"]
    torch.testing.assert_close(model(x), h)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", [-2, -0.5, 0, 3]),
        ("relu", [0, 0, 0, 3]),
        ("lrelu", [-0.02, -0.005, 0, 3]),
        ("hard_tanh", [-1, -0.5, 0, 1]),
        ("tanh", [-0.9640275801, -0.4621171573, 0, 0.9950547537]),
        ("selu", [-1.5201664686, -0.6917581878, 0, 3.1521029721]),  # 1.0507010 * 1.6732632 * (e^x - 1), 1.0507010 x
    ],
)
def test_activations(name, expected):
    torch.testing.assert_close(activation(name)(torch.tensor([-2, -0.5, 0, 3])), torch.tensor(expected).float())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"depth": 0}, "model.depth"), ({"width": 0}, "model.width"), ({"activation": "tan"}, "did you mean 'tanh'")],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        mlp((1, 8, 8), 10, **options)


def test_the_activations_offered_are_those_that_exist():
    import typing

    annotation = typing.get_type_hints(mlp)["activation"]
    assert set(typing.get_args(annotation)) == set(ACTIVATIONS)
    assert typing.get_type_hints(cifar_resnet)["activation"] == annotation


@pytest.mark.parametrize(
    ("options", "message"),
    [({"depth": 18}, "model.depth: must be 6 D"), ({"depth": 2}, "model.depth"), ({"width": 0}, "model.width")],
)
def test_bad_options_of_the_residual_net_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        cifar_resnet((3, 32, 32), 10, **options)
    with pytest.raises(UserError, match="images"):
        cifar_resnet((24,), 10)


def test_a_small_residual_net_takes_digits():
    assert cifar_resnet((1, 8, 8), 10, depth=8, width=8)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_a_block_whose_branch_is_zero_is_its_activated_shortcut(activation):
    torch.manual_seed(0)
    same, double = Block(4, 4, activation).eval(), Block(4, 8, activation).eval()
    x = torch.randn(2, 4, 6, 6)
    for block in (same, double):
        torch.nn.init.zeros_(block.conv2.weight)
    torch.testing.assert_close(same(x), same.activation2(x))
    projection = double.get_parameter("shortcut.0.weight")[:, :, 0, 0]
    expected = torch.einsum("oi,nihw->nohw", projection, x[:, :, ::2, ::2]) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(double(x), double.activation2(expected))
