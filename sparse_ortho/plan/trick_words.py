"""The tricks of a cell: which there are, what they are told, and what the plan sees that they cannot do.

    tricks: {soft: swish, ghost: {kind: identity, fraction: 0.3}, smoothing: 0.1}     grids:  tricks.soft: [null, swish]

A word or a number stands for the option that the trick's module names as its WORD, `true` for no option, and null,
`none` or false for no trick: a cell without tricks is the cell that it was before there were any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.fields import TRAIN, method
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.plan.trick_axis import is_off
from sparse_ortho.registry import resolve, table


def expand_tricks(value: Any, where: str, train: Mapping[str, Any], net: Mapping[str, Any]) -> dict[str, Any]:
    """name -> options without defaults, of the tricks that are on; `net`: the cell's model and number of classes."""
    if value is None or value == "none":
        return {}
    if isinstance(value, str):
        value = {value: True}
    if not isinstance(value, dict):
        raise UserError(where, "must map tricks to what they are told", found=value, allowed=table("tricks"))
    expanded = {}
    for name, told in sorted(_gathered(value, where).items()):
        path = resolve("tricks", name, where)
        if is_off(told):
            continue
        options = told if isinstance(told, dict) else {} if told is True else {literal_of(path, "WORD", name): told}
        if "name" in options:
            raise UserError(f"{where}.{name}.name", "unknown key", found="name", allowed=defaults(path))
        found = method("tricks", {"name": name, **options}, f"{where}.{name}")
        expanded[name] = {option: said for option, said in found.items() if option != "name"}
        refuse(path, defaults(path) | expanded[name], f"{where}.{name}", defaults(TRAIN) | dict(train), net)
    return expanded


def _gathered(value: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options that a grid wrote apart, `soft.fraction`, put to their trick."""
    found = {name: told for name, told in value.items() if "." not in name}
    for key, said in value.items():
        name, _, option = key.partition(".")
        if not option:
            continue
        told = found.get(name)
        if is_off(told):
            raise UserError(f"{where}.{key}", f"{name} is off, so there is nothing to tell it", found=said)
        if not isinstance(told, dict):
            word = literal_of(resolve("tricks", name, where), "WORD", name)
            told = {} if told is True else {word: told}
        found[name] = told | {option: said}
    return found


def refuse(path: str, options: Mapping[str, Any], where: str, train: Mapping[str, Any], net: Mapping[str, Any]) -> None:
    """What no run could do, as far as the plan knows."""
    if not 0 < options.get("fraction", 1) <= 1:
        raise UserError(f"{where}.fraction", "out of range", found=options["fraction"], allowed="(0, 1]")
    for name in ("beta0", "beta_max", "constant"):
        if options.get(name) is not None and options[name] <= 0:
            raise UserError(f"{where}.{name}", "must be a finite number above 0", found=options[name])
    if "alpha" in options:
        _refuse_smoothing(options, where, train, net["classes"])
    sharp = literal_of(path, "SHARP_KINDS", None)
    if sharp and options["kind"] not in sharp and (options["learnable"] or options["beta0"] is not None):
        said = "learnable" if options["learnable"] else "beta0"
        raise UserError(f"{where}.{said}", f"only {' and '.join(sharp)} have a beta", found=options["kind"])
    replaced = literal_of(path, "REPLACES", None)
    model = defaults(resolve("models", net["model"]["name"])) | net["model"]
    if replaced and model.get("activation", replaced) != replaced:
        problem = f"takes the place of {replaced}, and the model has another activation"
        raise UserError(where, problem, found=f"model.activation {model['activation']}")
    _refuse_parameters(options, where, train)


def _refuse_smoothing(options: Mapping[str, Any], where: str, train: Mapping[str, Any], classes: int) -> None:
    most = (classes - 1) / classes if options.get("over") == "others" else 1
    if not 0 < options["alpha"] <= most or options["alpha"] == 1:
        raise UserError(f"{where}.alpha", "out of range", found=options["alpha"], allowed=f"(0, {most:g}]")
    if train["label_smoothing"]:
        raise UserError(where, "labels are smoothed twice, here and by train.label_smoothing")


def _refuse_parameters(options: Mapping[str, Any], where: str, train: Mapping[str, Any]) -> None:
    """Of tricks that bring parameters, which the run's optimizer trains and nothing else knows."""
    if not (options.get("learnable") or options.get("kind") == "conv1x1"):
        return
    if train["ranks"] > 1:
        raise UserError(where, "has parameters of its own, which only one rank can train", found=train["ranks"])
    if options["always_on"] and train["ema"]:
        raise UserError(f"{where}.always_on", "train.ema averages no parameters but the network's", found=True)
