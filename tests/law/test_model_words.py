"""The spellings of models: what each means, written out; and that an alias is nothing but what it means."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.plan.fields import method
from sparse_ortho.plan.grid import overlay
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.model_words import ALIASES, expand_model
from sparse_ortho.registry import table

CELL = {"data": "mnist", "mask": "erk", "init": "eoi", "density": 0.1}
DEEP = {"name": "deep_resnet"}
FOR_CIFAR = DEEP | {"stem": "cifar", "head_bias": False}

MEANT: dict[str, dict[str, Any]] = {
    "lenet300-100": {"name": "lenet300_100"},
    "LeNet-300-100": {"name": "lenet300_100"},
    "fc1": {"name": "lenet300_100"},
    "mnist_mlp": {"name": "lenet300_100"},
    "mlp_cifar10": {"name": "mlp", "hidden": [1024, 512], "activation": "relu"},
    "mlp_cifar10_dropout": {"name": "mlp", "hidden": [1024, 512], "activation": "relu", "dropout": 0.0},
    "mlp_higgs": {"name": "mlp", "hidden": [256, 256], "activation": "relu"},
    "stupid_mlp": {"name": "mlp", "hidden": [4], "activation": "relu"},
    "LeNet-5-Caffe": {"name": "lenet5"},
    "LeNet-5": {"name": "lenet5"},
    "alexnet-s": {"name": "alexnet", "hidden": 1024},
    "alexnet-b": {"name": "alexnet", "hidden": 2048},
    "vgg16": {"name": "vgg", "depth": 16},
    "vgg-16": {"name": "vgg", "depth": 16},
    "VGG19": {"name": "vgg", "depth": 19},
    "vgg11_bn": {"name": "vgg", "depth": 11, "norm": True},
    "vgg16-bn": {"name": "vgg", "depth": 16, "norm": True},
    "vgg-16-pytorch": {"name": "vgg_imagenet", "depth": 16, "norm": True},
    "vgg-C": {"name": "vgg_c"},
    "vgg-c": {"name": "vgg_c"},
    "vgg-D": {"name": "vgg_d"},
    "vgg-like": {"name": "vgg_like"},
    "conv": {"name": "deep_conv"},
    "ConvNet_CIFAR10": {"name": "chollet_convnet"},
    "van4": {"name": "vanilla", "depth": 4},
    "van1024": {"name": "vanilla", "depth": 1024},
    "cifar_resnet": {"name": "resnet"},
    "cifar_resnet_32": {"name": "resnet", "depth": 32},
    "cifar_resnet_20_24": {"name": "resnet", "depth": 20, "width": 24},
    "resnet32": {"name": "resnet", "depth": 32},
    "ResNet-110": {"name": "resnet", "depth": 110},
    "resnet20s": {"name": "resnet", "depth": 20, "shortcut": "pad"},
    "oresnet32": {"name": "resnet", "depth": 32},
    "oresnet56": {"name": "resnet", "depth": 9 * 9 + 2, "block": "bottleneck"},
    "oresnet110": {"name": "resnet", "depth": 9 * 18 + 2, "block": "bottleneck"},
    "wrn-28-2": {"name": "wide_resnet", "depth": 28, "widen": 2},
    "WRN-16-10": {"name": "wide_resnet", "depth": 16, "widen": 10},
    "cifar10_WideResNet": {"name": "wide_resnet"},
    "resnet18": DEEP | {"depth": 18},
    "resnet50": DEEP | {"depth": 50},
    "resnet-152": DEEP | {"depth": 152},
    "imagenet_resnet50": DEEP | {"depth": 50},
    "ResNet18": FOR_CIFAR | {"depth": 18},
    "Resnet18": FOR_CIFAR | {"depth": 18},
    "ResNet50": FOR_CIFAR | {"depth": 50},
    "wide_resnet50_2": DEEP | {"depth": 50, "widen": 2},
    "WideResNet50_2": DEEP | {"depth": 50, "widen": 2},
    "wide-resnet18": DEEP | {"stem": "cifar", "width": 128},
    "WideResNet101": DEEP | {"depth": 101, "widen": 2},
    "efficientnet-b0": {"name": "efficientnet", "variant": "b0"},
    "EfficientNet_B3": {"name": "efficientnet", "variant": "b3"},
    "efficientnet-v2-s": {"name": "efficientnet", "variant": "v2_s"},
    "densenet-121": {"name": "densenet", "depth": 121},
    "densenet121": {"name": "densenet", "depth": 121},
    "mobilenetv1": {"name": "mobilenet", "version": 1},
    "mobilenet_v2": {"name": "mobilenet", "version": 2},
    "MobileNetV1": {"name": "mobilenet", "version": 1},
}


@pytest.mark.parametrize("word", MEANT)
def test_what_a_spelling_means(word: str) -> None:
    assert expand_model(word, "model") == MEANT[word]
    assert expand_model({"name": word}, "model") == MEANT[word]


@pytest.mark.parametrize("word", MEANT)
def test_what_it_means_is_registered_with_those_options(word: str) -> None:
    assert method("models", MEANT[word], "model")["name"] in table("models")


def test_every_pattern_is_spelled_above_and_none_overlap() -> None:
    matches = {word: [p for p in ALIASES if re.fullmatch(p, word, re.IGNORECASE)] for word in MEANT}
    assert {word: len(found) for word, found in matches.items()} == dict.fromkeys(MEANT, 1)
    assert {pattern for found in matches.values() for pattern in found} == set(ALIASES)


@pytest.mark.parametrize("name", table("models"))
def test_registered_names_mean_themselves(name: str) -> None:
    assert expand_model(name, "model") == name
    assert expand_model({"name": name, "depth": 3}, "model") == {"name": name, "depth": 3}
    assert not [pattern for pattern in ALIASES if re.fullmatch(pattern, name, re.IGNORECASE)]


# options beside an alias -------------------------------------------------------------------------------------------


def test_options_beside_an_alias_are_kept() -> None:
    given = {"name": "cifar_resnet_32", "width": 8, "depth": 32}
    before = copy.deepcopy(given)
    assert expand_model(given, "model") == {"name": "resnet", "depth": 32, "width": 8}
    assert given == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "cifar_resnet_32", "depth": 20}, "here.model.depth: cifar_resnet_32 says depth=32, .*found 20"),
        ({"name": "alexnet-s", "hidden": 2048}, "here.model.hidden: alexnet-s says hidden=1024, .*found 2048"),
        ({"name": "ResNet50", "stem": "imagenet"}, "here.model.stem: ResNet50 says stem=cifar, .*found 'imagenet'"),
        ({"name": "mlp_higgs", "hidden": [256]}, "here.model.hidden: mlp_higgs says "),
        ({"name": "mlp_cifar10_dropout", "dropout": 0.5}, "here.model.dropout: mlp_cifar10_dropout says dropout=0.9, "),
        ({"name": "cifar_resnet_31"}, None),  # an impossible depth is the model's to refuse
        ({"name": "cifar_resnet_32", "widht": 8}, "here.model.widht: unknown key .*did you mean 'width'"),
    ],
)
def test_a_contradiction_is_refused(given: dict[str, Any], message: str | None) -> None:
    cell = CELL | {"model": given}
    if message is None:
        assert resolve_cell(cell, "here").nodes["init"].spec["model"] == {"name": "resnet", "depth": 31}
        return
    with pytest.raises(UserError, match=f"^{message}"):
        resolve_cell(cell, "here")


@pytest.mark.parametrize(
    ("word", "nearest"),
    [("resnett", "resnet"), ("vgg_lik", "vgg_like"), ("cifar_resnet_", None), ("xvgg16", None), ("VGG_C", None)],
)
def test_an_unknown_name_is_refused_with_the_nearest_registered_one(word: str, nearest: str | None) -> None:
    assert expand_model(word, "model") == word
    pattern = f"here.model: unknown model .found {word!r}.; allowed: alexnet, .*"
    with pytest.raises(UserError, match=pattern + (f"did you mean '{nearest}'" if nearest else "")):
        resolve_cell(CELL | {"model": word}, "here")


@pytest.mark.parametrize("value", [None, 3, ["resnet18"], {"depth": 3}, {"name": 3}, {"name": None}])
def test_what_is_no_name_is_left_to_whoever_reads_it(value: Any) -> None:
    assert expand_model(value, "model") == value


# identity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["cifar_resnet_32", "vgg-C", "alexnet-s", "mlp_cifar10", "conv", "wrn-28-2"])
def test_an_alias_has_the_identity_of_what_it_means(word: str) -> None:
    by_alias = resolve_cell(CELL | {"model": word}, "here")
    by_name = resolve_cell(CELL | {"model": MEANT[word]}, "here")
    assert {stage: node.id for stage, node in by_alias.nodes.items()} == {
        stage: node.id for stage, node in by_name.nodes.items()
    }


def test_capitals_tell_the_form_for_cifar_from_that_for_imagenet() -> None:
    ids = [resolve_cell(CELL | {"model": word}, "here").id for word in ("ResNet18", "resnet18")]
    plain = resolve_cell(CELL | {"model": "deep_resnet"}, "here").id
    assert ids[0] != ids[1] == plain


@pytest.mark.parametrize(("density", "dropout"), [(0.05, 0.95), (0.1, 0.9), (0.9, 0.1), (0.125, 0.875)])
def test_dropout_takes_as_much_as_the_mask(density: float, dropout: float) -> None:
    cell = CELL | {"model": "mlp_cifar10_dropout", "density": density}
    assert resolve_cell(cell, "here").nodes["train"].spec["model"]["dropout"] == dropout


def test_a_dense_cell_has_no_dropout_to_match() -> None:
    dense = {"data": "mnist", "init": "kaiming"}
    ids = {resolve_cell(dense | {"model": word}, "here").id for word in ("mlp_cifar10", "mlp_cifar10_dropout")}
    assert len(ids) == 1


@pytest.mark.parametrize("density", [0, 2, "0.1", True])
def test_a_density_that_is_none_is_refused_as_a_density(density: Any) -> None:
    with pytest.raises(UserError, match="^here.density"):
        resolve_cell(CELL | {"model": "mlp_cifar10_dropout", "density": density}, "here")


def test_options_of_a_cell_are_laid_over_an_alias_of_its_block() -> None:
    block = CELL | {"model": "cifar_resnet_32"}
    for over in ({"model.width": 8}, {"model": {"width": 8}}, {"model": {"name": "cifar_resnet_32", "width": 8}}):
        cell = resolve_cell(overlay(block, over, "here"), "here")
        assert cell.nodes["init"].spec["model"] == {"name": "resnet", "depth": 32, "width": 8}
    with pytest.raises(UserError, match="^here.model.depth: cifar_resnet_32 says depth=32"):
        resolve_cell(overlay(block, {"model.depth": 20}, "here"), "here")
