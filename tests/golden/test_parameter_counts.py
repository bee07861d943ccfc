"""Parameter counts of the released models, counted on the meta device."""

from __future__ import annotations

import pytest
import torch

from sparse_ortho import registry
from sparse_ortho.masks import maskable
from sparse_ortho.plan.model_words import expand_model

COUNTS = [
    ("mlp", {}, (1, 28, 28), 130_010, 7),
    ("mlp", {"depth": 7, "width": 100}, (1, 28, 28), 130_010, 7),
    ("mlp", {"depth": 1000, "width": 128}, (1, 28, 28), 16_580_746, 1000),
    ("resnet", {}, (3, 32, 32), 272_474, 22),
    ("resnet", {"depth": 20}, (3, 32, 32), 272_474, 22),
    ("resnet", {"depth": 32}, (3, 32, 32), 466_906, 34),
    ("resnet", {"depth": 56}, (3, 32, 32), 855_770, 58),
    ("resnet", {"depth": 110}, (3, 32, 32), 1_730_714, 112),
]
MASKABLE = [(20, 270_896), (32, 464_432), (56, 851_504), (110, 1_722_416)]

# The released programs' own spelling, input, classes: all parameters, the maskable ones, and in how many tensors.
PLAIN = [
    ("mlp_cifar10", (3, 32, 32), 10, 3_676_682, 3072 * 1024 + 1024 * 512 + 512 * 10, 3),
    ("mlp_cifar10_dropout", (3, 32, 32), 10, 3_676_682, 3072 * 1024 + 1024 * 512 + 512 * 10, 3),
    ("mlp_higgs", (24,), 1, 72_449, 24 * 256 + 256 * 256 + 256, 3),
    ("stupid_mlp", (3, 32, 32), 10, 12_342, 4 * 3072 + 40, 2),
    ("lenet300-100", (1, 28, 28), 10, 266_610, 266_200, 3),
    ("lenet5", (1, 28, 28), 10, 431_080, 430_500, 4),
    ("alexnet-s", (3, 32, 32), 10, 5_077_066, 5_066_784, 8),
    ("alexnet-b", (3, 32, 32), 10, 8_501_322, 8_484_896, 8),
    ("vgg-C", (3, 32, 32), 10, 11_323_466, 11_307_712, 16),
    ("vgg-d", (3, 32, 32), 10, 15_255_626, 15_239_872, 16),
    ("vgg-like", (3, 32, 32), 10, 14_991_946, 14_977_728, 15),
    ("vgg11", (3, 32, 32), 10, 9_228_362, 9_228_362 - 2 * 2_752 - 10, 9),  # two of batch normalisation a channel
    ("vgg13", (3, 32, 32), 10, 9_413_066, 9_413_066 - 2 * 2_944 - 10, 11),
    ("vgg-16", (3, 32, 32), 10, 14_724_042, 14_715_584, 14),
    ("vgg16", (3, 64, 64), 10, 14_724_042, 14_715_584, 14),
    ("vgg-19", (3, 32, 32), 10, 20_035_018, 20_035_018 - 2 * 5_504 - 10, 17),
    ("vgg19", (3, 32, 32), 100, 20_070_080 + 2 * 5_504 + 100, 20_070_080, 17),
    ("vgg-16-pytorch", (3, 224, 224), 1000, 138_365_992, 138_365_992 - 3 * 4_224 - 9_192, 16),
    ("conv_cifar10", (3, 32, 32), 10, 94_538, 94_538 - 32 - 64 - 128 - 10, 4),
    ("ConvNet_CIFAR10", (3, 32, 32), 10, 988_746, 988_746 - 32 - 64 - 128 - 2 * 256 - 10, 6),
    ({"name": "conv", "depth": 1000}, (3, 32, 32), 10, 147_017_738, 146_890_112, 998),
    ("van32", (3, 32, 32), 10, 5_026_570, 5_026_570 - 35 * 128 - 10, 36),
    ("tabular", (16,), 2, 17 * 256 + 2 * 257 * 256 + 3 * 2 * 256 + 2 * 257, 16 * 256 + 2 * 256 * 256 + 2 * 256, 4),
]


@pytest.mark.parametrize(("name", "options", "shape", "count", "weights"), COUNTS)
def test_parameter_count(name, options, shape, count, weights):
    with torch.device("meta"):
        model = registry.load("models", name)(shape, 10, **options)
    assert sum(p.numel() for p in model.parameters()) == count
    assert sum(p.ndim > 1 for p in model.parameters()) == weights


@pytest.mark.parametrize(("depth", "count"), MASKABLE)
def test_maskable_weights_of_the_residual_net(depth, count):
    with torch.device("meta"):
        model = registry.load("models", "resnet")((3, 32, 32), 10, depth=depth)
    assert sum(weight.numel() for weight in maskable(model).values()) == count


@pytest.mark.parametrize(("word", "shape", "classes", "total", "weights", "tensors"), PLAIN, ids=str)
def test_counts_of_a_plain_network_by_its_released_name(word, shape, classes, total, weights, tensors):
    expanded = expand_model(word, "model", density=0.1)
    options = {"name": expanded} if isinstance(expanded, str) else dict(expanded)
    with torch.device("meta"):
        model = registry.load("models", options.pop("name"))(shape, classes, **options)
    found = maskable(model)
    assert sum(parameter.numel() for parameter in model.parameters()) == total
    assert (sum(weight.numel() for weight in found.values()), len(found)) == (weights, tensors)
