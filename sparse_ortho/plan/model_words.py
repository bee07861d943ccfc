"""What a model may be called: besides the registered names, the spellings of the released programs and papers.

A spelling is a pattern, and what it means is a registered name with options; named groups of the pattern are options
too. Whole words are matched, in any case except where `(?-i:` says that case matters. An alias has the identity of what
it means, and options written beside it are added to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.registry import table

REST = "1 - density"  # the fraction of weights that the cell's mask takes away

ALIASES: dict[str, dict[str, Any]] = {
    # Linear layers. EOI's stupid_mlp says no activation; the others of that program have relu.
    r"lenet-?300-100|fc1|mnist_mlp": {"name": "lenet300_100"},
    r"mlp_cifar10": {"name": "mlp", "hidden": [1024, 512], "activation": "relu"},
    r"mlp_cifar10_dropout": {"name": "mlp", "hidden": [1024, 512], "activation": "relu", "dropout": REST},
    r"mlp_higgs": {"name": "mlp", "hidden": [256, 256], "activation": "relu"},
    r"stupid_mlp": {"name": "mlp", "hidden": [4], "activation": "relu"},
    # Convolutions without skips
    r"lenet-5|lenet-?5-caffe": {"name": "lenet5"},
    r"alexnet-s": {"name": "alexnet", "hidden": 1024},
    r"alexnet-b": {"name": "alexnet", "hidden": 2048},
    r"vgg-?(?P<depth>11|13|16|19)": {"name": "vgg"},
    r"vgg-?(?P<depth>11|13|16|19)[-_]bn": {"name": "vgg", "norm": True},
    r"vgg-?(?P<depth>16)-pytorch": {"name": "vgg_imagenet", "norm": True},
    r"vgg-c": {"name": "vgg_c"},
    r"vgg-d": {"name": "vgg_d"},
    r"vgg-like": {"name": "vgg_like"},
    r"conv": {"name": "deep_conv"},
    r"convnet_cifar10": {"name": "chollet_convnet"},
    r"van(?P<depth>\d+)": {"name": "vanilla"},
    # Residual networks for small images
    r"cifar_resnet(_(?P<depth>\d+)(_(?P<width>\d+))?)?": {"name": "resnet"},
    r"resnet-?(?P<depth>20|32|44|56|110|1202)": {"name": "resnet"},
    r"resnet-?(?P<depth>20|32|44|56|110|1202)s": {"name": "resnet", "shortcut": "pad"},  # the paper's shortcuts
    r"oresnet-?(?P<depth>20|26|32|38|44|50)": {"name": "resnet"},  # ToST; from 54 on it takes bottlenecks and
    r"oresnet-?56": {"name": "resnet", "depth": 83, "block": "bottleneck"},  # still counts two layers a block
    r"oresnet-?110": {"name": "resnet", "depth": 164, "block": "bottleneck"},
    r"wrn-?(?P<depth>\d+)-(?P<widen>\d+)": {"name": "wide_resnet"},
    r"cifar10_WideResNet": {"name": "wide_resnet"},
    # Residual networks for ImageNet; with capitals the form for CIFAR, as ER, STR and Random Pruning have it
    r"(imagenet_)?(?-i:resnet)-?(?P<depth>18|34|50|101|152)": {"name": "deep_resnet"},
    r"(?-i:Res[Nn]et)-?(?P<depth>18|34|50|101|152)": {"name": "deep_resnet", "stem": "cifar", "head_bias": False},
    r"wide[-_]?resnet-?(?P<depth>50|101)([-_]2)?": {"name": "deep_resnet", "widen": 2},
    r"wide[-_]?resnet-?18": {"name": "deep_resnet", "stem": "cifar", "width": 128},  # of Synaptic Flow
    # Others
    r"efficientnet[-_]?(?P<variant>b0|b1|b3|v2[-_]s)": {"name": "efficientnet"},
    r"densenet-?(?P<depth>121|169|201)": {"name": "densenet"},
    r"mobilenet[-_]?v(?P<version>1|2)": {"name": "mobilenet"},
}


def expand_model(value: Any, where: str, density: Any = None) -> Any:
    """An alias, alone or with options beside it, as the registered name and options that it means; others unchanged."""
    given: Mapping[str, Any] = {"name": value} if isinstance(value, str) else value
    word = given.get("name") if isinstance(given, Mapping) else None
    if not isinstance(word, str) or word in table("models"):
        return value
    meaning = _meaning(word, density)
    if meaning is None:
        return value  # no alias either, so whoever looks it up refuses it with the nearest name
    for option, said in meaning.items():
        if option != "name" and given.get(option, said) != said:
            problem = f"{word} says {option}={said}, and {option} says otherwise"
            raise UserError(f"{where}.{option}", problem, found=given[option])
    return {**meaning, **given, "name": meaning["name"]}


def _meaning(word: str, density: Any) -> dict[str, Any] | None:
    for pattern, meaning in ALIASES.items():
        if found := re.fullmatch(pattern, word, re.IGNORECASE):
            options = {option: _plain(text) for option, text in found.groupdict().items() if text}
            return {key: _rest(density) if said == REST else said for key, said in (meaning | options).items()}
    return None


def _plain(text: str) -> int | str:
    return int(text) if text.isdigit() else text.lower().replace("-", "_")


def _rest(density: Any) -> float:
    """1 - density in decimals, so that 0.1 leaves 0.9; a density that is none is refused where the cell's is read."""
    if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
        return 0.0
    return float(1 - Decimal(str(density)))
