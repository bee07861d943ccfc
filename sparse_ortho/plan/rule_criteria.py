"""The criteria that a rule names: registered ones, or functions of the user's own as `module:function`.

A rule takes any criterion where its option is plain text (`drop: str`). Each is among the methods of its cell, so its
source, and that of what it imports, is in the code of the training.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.digest import source_of, tree_of
from sparse_ortho.plan.options import defaults, fields_of, literal_of
from sparse_ortho.plan.rule_vocabulary import KINDS
from sparse_ortho.registry import resolve, table

TAKES = {"drops": 3, "growths": 2, "shares": 1}  # (layers, counts, memory), (layers, counts), (layers)
OWN = "module:function of your own"
OPTIMIZERS = {"second_moment": "the second moment, which only Adam and AdamW keep", "momentum": "momentum"}


def criteria(rule: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(option, kind, name) of every criterion that the rule takes, defaults included."""
    path = resolve("rules", rule["name"])
    for option, (kind, default) in fields_of(path).items():
        if option in KINDS and kind is str:
            name = rule.get(option, default)
            if name != "none" or not (option == "redistribution" or default == "none"):
                yield option, KINDS[option], name


def check_criteria(rule: Mapping[str, Any], where: str, trained: Mapping[str, Any]) -> None:
    for option, kind, name in criteria(rule):
        place = f"{where}.{option}"
        if ":" in name:
            _check_own(name, kind, place)
        elif name not in table(kind):
            also = ["none"] if option == "redistribution" else []
            raise UserError(place, "unknown choice", found=name, allowed=[*table(kind), *also, OWN])
        for need in reads(kind, name):
            lacks = trained["optimizer"] == "sgd" and (need == "second_moment" or not trained["momentum"])
            if need in OPTIMIZERS and lacks:
                problem = f"reads {OPTIMIZERS[need]}, and the optimizer of train has none"
                raise UserError(place, problem, found=name)


def reads(kind: str, name: str) -> tuple[str, ...]:
    """What a criterion needs besides weights and gradients, from the READS beside it."""
    path = resolve(kind, name)
    return tuple(literal_of(path, "READS", {}).get(path.partition(":")[2], ()))


def _check_own(path: str, kind: str, where: str) -> None:
    """That the file is there and has the function, with as many arguments as it will get; nothing is imported."""
    module, _, name = path.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), name]):
        raise UserError(where, "is no module:function", found=path)
    if source_of(module) is None:
        raise UserError(where, f"there is no module {module} in this folder or on the path", found=path)
    try:
        body = tree_of(module).body
    except SyntaxError as error:
        raise UserError(where, f"{source_of(module)}, line {error.lineno}: {error.msg}", found=path) from None
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    if name not in functions:
        raise UserError(where, f"{source_of(module)} defines no such function", found=name, allowed=functions or "none")
    arguments, wanted = functions[name].args, TAKES[kind]
    places = [*arguments.posonlyargs, *arguments.args]
    least = len(places) - len(arguments.defaults)
    if not (least <= wanted and (wanted <= len(places) or arguments.vararg)):
        signature = ", ".join(("layers", "counts", "memory")[:wanted])
        raise UserError(where, f"{name} must take ({signature})", found=f"{len(places)} arguments")


def criteria_of(rule: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The criteria as methods of a cell."""
    return [(kind, {"name": name}) for _, kind, name in criteria(rule)]


def refuse_ranges(rule: Mapping[str, Any], where: str) -> None:
    options = defaults(resolve("rules", rule["name"])) | dict(rule)
    for key, positive in (("gamma", False), ("temperature", True)):
        value = options.get(key, 1.0)
        if isinstance(value, int | float) and (value < 0 or (positive and value == 0)):
            raise UserError(f"{where}.{key}", "out of range", found=value, allowed="above 0" if positive else "from 0")
