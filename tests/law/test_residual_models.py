"""Residual and ImageNet-type networks: the numbers of torchvision and of their formulas, and what every one keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparse_ortho import registry
from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.models.densenet import DenseLayer
from sparse_ortho.models.heads import head
from sparse_ortho.models.inverted import InvertedBottleneck, Stage, StochasticDepth, divisible
from sparse_ortho.models.mobilenet import separable
from sparse_ortho.models.residual import Block, Bottleneck
from sparse_ortho.models.wide_resnet import PreactivationBlock

SMALLEST = [
    ("resnet", {"depth": 8, "width": 4}),
    ("resnet", {"depth": 8, "width": 4, "shortcut": "pad"}),
    ("resnet", {"depth": 11, "width": 4, "block": "bottleneck"}),
    ("deep_resnet", {"depth": 18, "width": 4}),
    ("deep_resnet", {"depth": 50, "width": 4, "widen": 2, "stem": "cifar", "head": "conv"}),
    ("wide_resnet", {"depth": 10, "widen": 1}),
    ("densenet", {"growth": 2}),
    ("densenet", {"growth": 2, "stem": "cifar"}),
    ("efficientnet", {}),
    ("efficientnet", {"variant": "v2_s", "stem": "cifar"}),
    ("mobilenet", {"width": 0.25}),
    ("mobilenet", {"version": 2, "width": 0.25, "stem": "cifar"}),
]
TWINS = [
    ("deep_resnet", {"depth": 18}, "resnet18", {}),
    ("deep_resnet", {"depth": 50}, "resnet50", {}),
    ("deep_resnet", {"depth": 50, "widen": 2}, "wide_resnet50_2", {}),
    ("densenet", {}, "densenet121", {}),
    ("efficientnet", {"variant": "b0"}, "efficientnet_b0", {}),
    ("efficientnet", {"variant": "b1"}, "efficientnet_b1", {}),
    ("efficientnet", {"variant": "b3"}, "efficientnet_b3", {}),
    ("efficientnet", {"variant": "v2_s"}, "efficientnet_v2_s", {}),
    ("mobilenet", {"version": 2}, "mobilenet_v2", {}),
    ("mobilenet", {"version": 2, "width": 0.35}, "mobilenet_v2", {"width_mult": 0.35}),
    ("mobilenet", {"version": 2, "width": 1.4}, "mobilenet_v2", {"width_mult": 1.4}),
]


def build(name, options, shape=(3, 32, 32), classes=10):
    torch.manual_seed(0)
    return registry.load("models", name)(shape, classes, **options)


@torch.no_grad()
def shake(module):
    """Random numbers everywhere, running statistics included, at a scale that reaches the end of a deep net."""
    torch.manual_seed(1)
    for name, value in module.state_dict().items():
        if value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5)
        elif name.endswith(("running_var", "weight")):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            value.normal_(0, 0.1)
    return module.eval()


@pytest.mark.parametrize(("name", "options", "twin", "more"), TWINS)
@torch.no_grad()
def test_logits_are_those_of_torchvision_with_the_same_weights(name, options, twin, more):
    from torchvision import models

    with torch.device("meta"):
        theirs = getattr(models, twin)(num_classes=10, **more)
        ours = build(name, options, (3, 64, 64))
    theirs = shake(theirs.to_empty(device="cpu"))
    pairs = zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True)
    ours.load_state_dict({mine: value for (mine, _), (_, value) in pairs}, assign=True)  # refuses other shapes
    x = torch.randn(2, 3, 64, 64)
    expected, found = theirs(x), ours.eval()(x)
    assert (expected[0] - expected[1]).abs().max() > 1e-3 * expected.abs().max()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("version", [1, 2])
@torch.no_grad()
def test_dropout_before_the_head_is_that_of_torchvision(version):
    from torchvision import models

    with torch.device("meta"):
        theirs = {n: models.get_model(f"efficientnet_{n}").classifier[0].p for n in ("b0", "b1", "b3", "v2_s")}
        ours = {n: build("efficientnet", {"variant": n}).dropout.p for n in theirs}
        assert ours == theirs
        mobile = models.mobilenet_v2().classifier[0].p if version == 2 else 0
        assert build("mobilenet", {"version": version}).dropout.p == mobile


class Reference:
    """The layers of a module by their names, computed from its state alone."""

    def __init__(self, module, eps=1e-5):
        self.state, self.eps = module.state_dict(), eps

    def bn(self, name, x):
        w, b, mean, var = (
            self.state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + self.eps).sqrt() * w + b

    def conv(self, name, x, stride=1, groups=1):
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, weight.shape[-1] // 2, groups=groups)

    def both(self, name, x, stride=1, groups=1):
        return self.bn(f"{name}.bn", self.conv(f"{name}.conv", x, stride, groups))


def relu(x):
    return x * (x > 0)


def close(module, expected, x):
    assert x.ndim == expected.ndim and expected.std() > 0
    torch.testing.assert_close(module(x), expected, rtol=1e-9, atol=1e-9)


@pytest.fixture
def x():
    torch.manual_seed(2)
    return torch.randn(3, 8, 5, 6, dtype=torch.float64)


@pytest.mark.parametrize(("outputs", "stride"), [(8, 1), (8, 2), (12, 1), (12, 2)])
@pytest.mark.parametrize("shortcut", ["projection", "pad"])
@torch.no_grad()
def test_basic_block(outputs, stride, shortcut, x):
    block = shake(Block(8, outputs, "relu", stride, shortcut).double())
    r = Reference(block)
    y = r.bn("bn2", r.conv("conv2", relu(r.bn("bn1", r.conv("conv1", x, stride)))))
    close(block, relu(y + skip(r, x, outputs, stride, shortcut)), x)


@pytest.mark.parametrize(("outputs", "stride"), [(8, 1), (8, 2), (12, 1), (12, 2)])
@pytest.mark.parametrize("shortcut", ["projection", "pad"])
@torch.no_grad()
def test_bottleneck_strides_in_its_middle(outputs, stride, shortcut, x):
    block = shake(Bottleneck(8, outputs, "relu", stride, shortcut, widen=3).double())
    r = Reference(block)
    assert r.state["conv2.weight"].shape == (3 * outputs // 4, 3 * outputs // 4, 3, 3)
    y = relu(r.bn("bn2", r.conv("conv2", relu(r.bn("bn1", r.conv("conv1", x))), stride)))
    close(block, relu(r.bn("bn3", r.conv("conv3", y)) + skip(r, x, outputs, stride, shortcut)), x)


def skip(r, x, outputs, stride, shortcut):
    if (outputs, stride) == (8, 1):
        return x
    if shortcut == "projection":
        return r.bn("shortcut.1", r.conv("shortcut.0", x, stride))
    return torch.cat([x[:, :, ::stride, ::stride], torch.zeros(3, outputs - 8, *x[0, 0, ::stride, ::stride].shape)], 1)


def test_option_a_has_no_parameters_and_passes_every_other_pixel(x):
    block = Block(8, 12, "linear", 2, "pad").double().eval()
    nn.init.zeros_(block.conv2.weight)
    assert not list(block.shortcut.parameters())
    y = block(x)
    assert torch.equal(y[:, :8], x[:, :, [0, 2, 4]][:, :, :, [0, 2, 4]]) and not y[:, 8:].any()


@pytest.mark.parametrize(("outputs", "stride"), [(8, 1), (12, 1), (12, 2)])
@torch.no_grad()
def test_preactivation_block_projects_what_it_has_activated(outputs, stride, x):
    block = shake(PreactivationBlock(8, outputs, "relu", stride, 0.3).double())
    r = Reference(block)
    h = relu(r.bn("bn1", x))
    y = r.conv("conv2", relu(r.bn("bn2", r.conv("conv1", h, stride))))
    close(block, y + (x if outputs == 8 else r.conv("shortcut", h, stride)), x)


@torch.no_grad()
def test_dense_layer_keeps_its_input_and_adds_the_growth(x):
    layer = shake(DenseLayer(8, 5, "relu", 0.5).double())
    r = Reference(layer)
    y = r.conv("conv2", relu(r.bn("bn2", r.conv("conv1", relu(r.bn("bn1", x))))))
    assert y.shape[1] == 5 and r.state["conv1.weight"].shape[0] == 20
    close(layer, torch.cat([x, y], 1), x)


@pytest.mark.parametrize(
    ("expand", "stride", "outputs", "squeeze"), [(1, 1, 8, False), (6, 1, 8, True), (6, 2, 8, True), (2, 1, 16, False)]
)
@torch.no_grad()
def test_inverted_bottleneck(expand, stride, outputs, squeeze, x):
    stage = Stage(expand, 5, stride, outputs, 1)
    block = shake(InvertedBottleneck(8, stage, nn.ReLU, squeeze=squeeze, drop=0.5, eps=1e-3).double())
    r, y = Reference(block, 1e-3), x
    if expand > 1:
        y = relu(r.both("branch.expand", y))
    y = relu(r.both("branch.depthwise", y, stride, 8 * expand))
    if squeeze:
        gate = y.mean((2, 3), keepdim=True)
        gate = r.conv("branch.squeeze.restore", relu(r.conv("branch.squeeze.reduce", gate)))
        assert r.state["branch.squeeze.reduce.weight"].shape[0] == 2  # a quarter of the inputs of the block
        y = y / (1 + (-gate).exp())
    y = r.both("branch.project", y)
    close(block, x + y if (stride, outputs) == (1, 8) else y, x)


@pytest.mark.parametrize("expand", [1, 4])
@torch.no_grad()
def test_fused_inverted_bottleneck(expand, x):
    block = shake(InvertedBottleneck(8, Stage(expand, 3, 1, 8, 1, fused=True), nn.ReLU).double())
    r = Reference(block)
    y = relu(r.both("branch.fused", x))
    close(block, x + (y if expand == 1 else r.both("branch.project", y)), x)


@torch.no_grad()
def test_separable_convolution(x):
    block = shake(separable(8, 12, 2, nn.ReLU).double())
    r = Reference(block)
    close(block, relu(r.both("1", relu(r.both("0", x, 2, 8)))), x)


def test_channels_are_multiples_of_8_that_lose_at_most_a_tenth():
    """By hand: 12 is between 8 and 16 and goes up; 11 is nearer to 8, which is under 9.9."""
    assert [divisible(c) for c in (1, 8, 11, 12, 19, 28.8, 48, 89.6)] == [8, 8, 16, 16, 24, 32, 48, 88]


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, ones = StochasticDepth(0.2), torch.ones(4000, 2, 3, 3)
    y = layer(ones)
    first = y[:, 0, 0, 0]
    assert torch.equal(y, first[:, None, None, None].expand_as(y))
    assert set(first.tolist()) == {0.0, 1.25}
    assert abs(float((first > 0).float().mean()) - 0.8) < 5 * (0.2 * 0.8 / 4000) ** 0.5
    assert torch.equal(layer.eval()(ones), ones)


def test_deeper_blocks_are_dropped_more_often():
    with torch.device("meta"):
        model = build("efficientnet", {"stochastic_depth": 0.32})
    found = [module.drop for module in model.modules() if isinstance(module, StochasticDepth)]
    assert found == pytest.approx([0.02 * i for i in range(16)])


@pytest.mark.parametrize(
    ("name", "options", "quiet"),
    [
        ("wide_resnet", {"depth": 10, "widen": 1}, {"dropout": 0.0}),
        ("densenet", {"growth": 2, "dropout": 0.2}, {"dropout": 0.0}),
        ("efficientnet", {"dropout": 0.0}, {"stochastic_depth": 0.0}),
        ("efficientnet", {"stochastic_depth": 0.0}, {"dropout": 0.0}),
        ("mobilenet", {"version": 2, "width": 0.25}, {"dropout": 0.0}),
    ],
)
@torch.no_grad()
def test_dropping_happens_in_training_only_and_can_be_turned_off(name, options, quiet):
    x = torch.randn(4, 3, 32, 32)
    loud, still = build(name, options), build(name, options | quiet)
    assert not torch.equal(loud(x), loud(x))
    assert torch.equal(still(x), still(x))
    assert torch.equal(loud.eval()(x), loud(x))


@pytest.mark.parametrize(("name", "options"), SMALLEST)
@torch.no_grad()
def test_every_layer_is_used_once_and_weights_are_listed_in_order_of_use(name, options):
    model = build(name, options)
    used = []
    for path, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, path=path: used.append(path))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert len(used) == len(set(used))
    assert [f"{path}.weight" for path in used if f"{path}.weight" in maskable(model)] == list(maskable(model))


@pytest.mark.parametrize(("name", "options"), SMALLEST)
def test_the_activation_asked_for_is_the_only_one(name, options):
    kinds = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.LeakyReLU, nn.SELU, nn.Tanh)
    with torch.device("meta"):
        model = build(name, options | {"activation": "lrelu"})
    assert {type(module) for module in model.modules() if isinstance(module, kinds)} == {nn.LeakyReLU}


@pytest.mark.parametrize(
    ("name", "options"), [case for case in SMALLEST if case[0] != "efficientnet" and case[1] != {"growth": 2}]
)
@torch.no_grad()
def test_linear_activations_leave_an_affine_map(name, options):
    """Nothing else is nonlinear, but the max pool of the ImageNet stems and the gates of EfficientNet."""
    if name == "deep_resnet":
        options = options | {"stem": "cifar"}
    model = shake(build(name, options | {"activation": "linear"}).double())
    x, y = torch.randn(2, 2, 3, 32, 32, dtype=torch.float64)
    parts = model(x) + model(y) - model(torch.zeros_like(x))
    torch.testing.assert_close(model(x + y), parts, rtol=0, atol=1e-10 * float(parts.abs().max()))


@pytest.mark.parametrize(("stem", "side"), [("cifar", 32), ("imagenet", 8)])
def test_the_stem_decides_the_size_of_the_first_stage(stem, side):
    for name, layer in (("deep_resnet", "blocks.0.conv2"), ("densenet", "features.4")):
        with torch.device("meta"):
            model = build(name, {"stem": stem})
            seen = []
            model.get_submodule(layer).register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out.shape))
            model(torch.zeros(2, 3, 32, 32))
        assert seen[0][2:] == (side, side)


@pytest.mark.parametrize(("name", "stem", "side"), [("efficientnet", "cifar", 2), ("efficientnet", "imagenet", 1)])
def test_small_images_reach_the_end_of_nets_with_five_strides(name, stem, side):
    with torch.device("meta"):
        model, seen = build(name, {"stem": stem}), []
        model.features.register_forward_hook(lambda _m, _i, out: seen.append(out.shape))
        model(torch.zeros(2, 3, 32, 32))
    assert seen == [(2, 1280, side, side)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 17, 40)])
@pytest.mark.parametrize(("name", "options"), [case for case in SMALLEST if case != ("densenet", {"growth": 2})])
def test_takes_images_of_any_size(name, options, shape):
    with torch.device("meta"):
        assert build(name, options, shape, 7)(torch.zeros(2, *shape)).shape == (2, 7)


@torch.no_grad()
def test_a_head_of_one_by_one_convolution_is_a_linear_layer():
    x = torch.randn(4, 6)
    for bias in (True, False):
        conv, linear = head(6, 3, "conv", bias), head(6, 3, "linear", bias)
        linear.load_state_dict({n: v.flatten(1) if v.ndim > 1 else v for n, v in conv.state_dict().items()})
        assert conv.weight.shape == (3, 6, 1, 1) and ("bias" in dict(conv.named_parameters())) is bias
        torch.testing.assert_close(conv(x), linear(x))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {"depth": 18}, r"model.depth: must be 6 D \+ 2 \(found 18\); allowed: 8, 14, 20"),
        ("resnet", {"depth": 20, "block": "bottleneck", "width": 0}, "model.width"),
        ("resnet", {"depth": 56, "block": "bottlenek"}, "model.block.*did you mean 'bottleneck'"),
        ("resnet", {"depth": 32, "block": "bottleneck"}, r"must be 9 D \+ 2 .*11, 20, 29"),
        ("resnet", {"shortcut": "padded"}, "model.shortcut.*did you mean 'pad'"),
        ("deep_resnet", {"depth": 20}, "model.depth: unknown depth .*18, 34, 50, 101, 152"),
        ("deep_resnet", {"widen": 2}, "model.widen: widens bottlenecks, and depth 18 has none"),
        ("deep_resnet", {"depth": 50, "widen": 0}, "model.widen: must be at least 1"),
        ("deep_resnet", {"stem": "cifar10"}, "model.stem.*did you mean 'cifar'"),
        ("deep_resnet", {"head": "fc"}, "model.head.*linear, conv"),
        ("deep_resnet", {"stage_widths": "double"}, "model.stage_widths.*did you mean 'doubling'"),
        ("deep_resnet", {"activation": "tan"}, "did you mean 'tanh'"),
        ("wide_resnet", {"depth": 20}, r"model.depth: must be 6 D \+ 4"),
        ("wide_resnet", {"depth": 4}, "model.depth"),
        ("wide_resnet", {"widen": 0}, "model.widen"),
        ("wide_resnet", {"dropout": 1.0}, "model.dropout: must be a probability under 1"),
        ("densenet", {"depth": 120}, "model.depth.*121, 169, 201"),
        ("densenet", {"growth": 0}, "model.growth"),
        ("densenet", {"stem": "mnist"}, "model.stem"),
        ("efficientnet", {"variant": "b2"}, "model.variant.*b0, b1, b3, v2_s"),
        ("efficientnet", {"stem": "cifar10"}, "model.stem"),
        ("efficientnet", {"stochastic_depth": -0.1}, "model.stochastic_depth"),
        ("efficientnet", {"activation": "swish"}, "model.activation.*silu"),
        ("mobilenet", {"version": 3}, "model.version.*1, 2"),
        ("mobilenet", {"width": 0.0}, "model.width: must be positive"),
        ("mobilenet", {"activation": "relu66"}, "did you mean 'relu6'"),
        ("mobilenet", {"dropout": 1.5}, "model.dropout"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(name, options, message):
    with pytest.raises(UserError, match=message) as caught:
        build(name, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted({name for name, _ in SMALLEST}))
def test_what_is_no_image_is_refused(name):
    with pytest.raises(UserError, match=r"takes images of channels x height x width \(found \(24,\)\)"):
        build(name, {}, (24,))


@pytest.mark.parametrize(("stem", "least"), [("cifar", 8), ("imagenet", 29)])
def test_a_densenet_refuses_images_that_it_would_pool_to_nothing(stem, least):
    with pytest.raises(UserError, match=f"at least {least} x {least}"):
        build("densenet", {"stem": stem}, (3, least - 1, 64))
    with torch.device("meta"):
        model = build("densenet", {"stem": stem}, (3, least, least))
        assert model(torch.zeros(2, 3, least, least)).shape == (2, 10)
        with pytest.raises(RuntimeError):  # so the limit is not too strict
            model(torch.zeros(2, 3, least - 1, least - 1))
