"""Parameter counts of the residual and ImageNet-type networks, as published or in closed form, on the meta device."""

from __future__ import annotations

import pytest
import torch

from sparse_ortho import registry
from sparse_ortho.masks import maskable

IMAGENET, TINY, CIFAR = ((3, 224, 224), 1000), ((3, 64, 64), 200), ((3, 32, 32), 10)
SMALL = {"stem": "cifar", "head_bias": False}
PARAMETERS = [
    ("deep_resnet", {"depth": 18}, IMAGENET, 11_689_512),
    ("deep_resnet", {"depth": 34}, IMAGENET, 21_797_672),
    ("deep_resnet", {"depth": 50}, IMAGENET, 25_557_032),
    ("deep_resnet", {"depth": 101}, IMAGENET, 44_549_160),
    ("deep_resnet", {"depth": 152}, IMAGENET, 60_192_808),
    ("deep_resnet", {"depth": 50, "widen": 2}, IMAGENET, 68_883_240),
    ("deep_resnet", {"depth": 101, "widen": 2}, IMAGENET, 126_886_696),
    ("densenet", {}, IMAGENET, 7_978_856),
    ("densenet", {"depth": 169}, IMAGENET, 14_149_480),
    ("densenet", {"depth": 201}, IMAGENET, 20_013_928),
    ("efficientnet", {}, IMAGENET, 5_288_548),
    ("efficientnet", {"variant": "b0"}, TINY, 5_288_548 - 800 * (1280 + 1)),  # a head for 200 classes: 4,263,748
    ("efficientnet", {"variant": "b0", "stem": "cifar"}, IMAGENET, 5_288_548),
    ("efficientnet", {"variant": "b1"}, IMAGENET, 7_794_184),
    ("efficientnet", {"variant": "b3"}, IMAGENET, 12_233_232),
    ("efficientnet", {"variant": "v2_s"}, IMAGENET, 21_458_488),
    ("mobilenet", {}, IMAGENET, 4_231_976),
    ("mobilenet", {"version": 1, "width": 0.5}, IMAGENET, 1_331_592),
    ("mobilenet", {"version": 2}, IMAGENET, 3_504_872),
    ("resnet", {"depth": 20, "shortcut": "pad"}, CIFAR, 269_722),
    ("resnet", {"depth": 56, "shortcut": "pad"}, CIFAR, 853_018),
    ("resnet", {"depth": 110, "shortcut": "pad"}, CIFAR, 1_727_962),
    ("wide_resnet", {}, CIFAR, 1_467_610),
    ("wide_resnet", {"depth": 22, "widen": 8}, CIFAR, 17_158_106),
    ("wide_resnet", {"depth": 16, "widen": 8}, CIFAR, 10_961_370),
    ("wide_resnet", {"depth": 16, "widen": 10}, CIFAR, 17_116_634),
]
WEIGHTS = [
    ("deep_resnet", {"depth": 50}, IMAGENET, 25_502_912, 54),
    ("deep_resnet", SMALL | {"depth": 18}, CIFAR, 11_164_352, 21),
    ("deep_resnet", SMALL | {"depth": 18}, ((3, 32, 32), 100), 11_159_232 + 51_200, 21),
    ("deep_resnet", SMALL | {"depth": 34}, ((3, 32, 32), 100), 21_259_968 + 51_200, 37),
    ("deep_resnet", SMALL | {"depth": 50}, ((3, 32, 32), 100), 23_652_032, 54),
    ("deep_resnet", SMALL | {"depth": 50, "head": "conv"}, ((3, 32, 32), 100), 23_652_032, 54),
    ("densenet", {"depth": 121}, IMAGENET, 7_978_856 - 1000 - 2 * 41_824, 121),  # without biases and BN
    ("mobilenet", {"version": 1}, IMAGENET, 4_209_088, 28),
    ("wide_resnet", {"depth": 28, "widen": 2}, CIFAR, 1_463_984, 29),
    ("wide_resnet", {"depth": 22, "widen": 8}, CIFAR, 17_147_312, 23),
    ("wide_resnet", {"depth": 16, "widen": 8}, CIFAR, 10_954_160, 17),
    ("wide_resnet", {"depth": 16, "widen": 10}, CIFAR, 17_107_632, 17),
]


def shadow(name, options, task):
    with torch.device("meta"):
        return registry.load("models", name)(*task, **options)


def sizes(model):
    return [weight.numel() for weight in maskable(model).values()]


@pytest.mark.parametrize(("name", "options", "task", "count"), PARAMETERS)
def test_parameters(name, options, task, count):
    assert sum(p.numel() for p in shadow(name, options, task).parameters()) == count


@pytest.mark.parametrize(("name", "options", "task", "count", "tensors"), WEIGHTS)
def test_maskable_weights(name, options, task, count, tensors):
    found = sizes(shadow(name, options, task))
    assert (sum(found), len(found)) == (count, tensors)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_depth_counts_the_weights_without_those_of_shortcuts(depth):
    names = maskable(shadow("deep_resnet", {"depth": depth}, IMAGENET))
    assert len([name for name in names if "shortcut" not in name]) == depth


@pytest.mark.parametrize(("depth", "growth"), [(121, 32), (169, 12), (201, 48)])
def test_depth_of_a_densenet_counts_all_weights(depth, growth):
    assert len(sizes(shadow("densenet", {"depth": depth, "growth": growth}, IMAGENET))) == depth


def test_stem_and_shortcuts_that_a_partially_dense_net_keeps():
    """2,778,304 weights of ResNet-50 by the logs of sparse momentum."""
    names = maskable(shadow("deep_resnet", {"depth": 50}, IMAGENET), include=["conv.weight", "*.shortcut.*"])
    assert sum(weight.numel() for weight in names.values()) == 2_778_304


@pytest.mark.parametrize("width", [16, 64])
def test_stages_of_one_width(width):
    """16 convolutions 3x3 and 3 projections, all W x W, after the stem."""
    found = sizes(shadow("deep_resnet", SMALL | {"stage_widths": "constant", "width": width}, CIFAR))
    assert sum(found) == 27 * width + (16 * 9 + 3) * width**2 + 10 * width


@pytest.mark.parametrize(("depth", "blocks"), [(11, 1), (83, 9)])
def test_bottlenecks_on_small_images(depth, blocks):
    """A stage of inner width w from i channels: i w + 9 w w + 4 w w, a projection 4 i w, then blocks of 17 w w."""
    expected, inputs = 432 + 2560, 16
    for inner in (16, 32, 64):
        expected += 5 * inputs * inner + 13 * inner**2 + (blocks - 1) * 17 * inner**2
        inputs = 4 * inner
    model = shadow("resnet", {"depth": depth, "block": "bottleneck"}, CIFAR)
    assert sum(sizes(model)) == expected
    assert len([name for name in maskable(model) if "shortcut" not in name]) == depth


def test_thin_nets_scale_all_layers():
    """Half of all channels: a quarter of all weights but those at the ends."""
    for name, options in (("deep_resnet", {"depth": 50}), ("wide_resnet", {"widen": 2})):
        thin = {"width": 32} if name == "deep_resnet" else {"widen": 1}
        full, half = (maskable(shadow(name, options | more, CIFAR)) for more in ({}, thin))
        inner = [key for key in half if full[key].numel() == 4 * half[key].numel()]
        assert len(half) - len(inner) <= 4  # stem, what follows a stem of fixed width, head
