"""A method's options, read from its source: nothing is declared twice and nothing is imported.

The options of `module:attribute` are the keyword-only parameters of that function, or the fields of that dataclass,
with literal defaults. They become a pydantic model that refuses unknown names and wrong types in one sentence. Values
equal to the default are dropped, so a default that is written out changes no identity.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from sparse_ortho.errors import UserError
from sparse_ortho.plan.digest import tree_of

NAMES: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "None": None,
    "tuple": tuple,
    "list": list,
}


@functools.cache
def fields_of(path: str) -> dict[str, tuple[Any, Any]]:
    """Option name -> (type, default) of `module:attribute`, or of one parameter of it, `module:attribute#name`."""
    module, _, attribute = path.partition(":")
    attribute, _, only = attribute.partition("#")
    for node in tree_of(module).body:
        if getattr(node, "name", None) != attribute:
            continue
        if isinstance(node, ast.FunctionDef):
            pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            found = [(arg.arg, arg.annotation, default) for arg, default in pairs]
        elif isinstance(node, ast.ClassDef):
            lines = [
                line for line in node.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
            ]
            found = [
                (line.target.id, line.annotation, line.value) for line in lines if isinstance(line.target, ast.Name)
            ]
        else:
            continue
        wanted = [field for field in found if not only or field[0] == only]
        return {name: (_type(kind, path), _default(name, value, path)) for name, kind, value in wanted}
    raise LookupError(f"{path}: no such function or class in the source")


def literal_of(path: str, name: str, otherwise: Any) -> Any:
    """A module-level literal beside `module:attribute`, such as NEEDS, FLOOR or FACTS."""
    for node in tree_of(path.partition(":")[0]).body:
        if isinstance(node, ast.Assign):
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            targets = [node.target.id]
        else:
            continue
        if name in targets and node.value is not None:
            return ast.literal_eval(node.value)
    return otherwise


def check(paths: tuple[str, ...], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The given options, typed, without those that equal their default; `paths` share one set of options."""
    return _checked(paths, given, where).model_dump(exclude_defaults=True, mode="json")


def defaults(*paths: str) -> dict[str, Any]:
    """Every option of the methods with its default."""
    return {name: default for path in paths for name, (_, default) in fields_of(path).items()}


def _checked(paths: tuple[str, ...], given: Mapping[str, Any], where: str) -> BaseModel:
    model = _model(paths)
    try:  # as JSON and strictly: 1 is a float and a list a tuple, but "1" is no number and true no integer
        return model.model_validate_json(json.dumps(dict(given), default=str), strict=True)
    except ValidationError as error:
        raise explain(error, where, given, model.model_fields) from None


@functools.cache
def _model(paths: tuple[str, ...]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: pair for path in paths for name, pair in fields_of(path).items()}
    return create_model("Options", __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


def explain(error: ValidationError, where: str, given: Any, allowed: Any) -> UserError:
    """The first complaint of pydantic as one sentence: key, found, allowed, nearest."""
    problem = error.errors()[0]
    path = ".".join([where, *(str(part) for part in problem["loc"] if not str(part).startswith("function-"))]).strip(
        "."
    )
    if problem["type"] == "extra_forbidden":
        name, near = str(problem["loc"][-1]), sorted(map(str, allowed))
        return UserError(path, "unknown key", found=name, allowed=near or ["nothing here"])
    if problem["type"] == "missing":
        return UserError(path, "is required but absent")
    return UserError(path, problem["msg"][:1].lower() + problem["msg"][1:], found=problem["input"])


def _type(node: ast.expr | None, path: str) -> Any:
    """A simple annotation as a type: names, X | None, Literal[...], tuple[X, ...], list[X]. Nothing is evaluated."""
    match node:
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            return _type(ast.parse(text, mode="eval").body, path)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left, path) | _type(right, path)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return Literal[ast.literal_eval(inner)]
        case ast.Subscript(value=ast.Name(id=("tuple" | "list") as kind), slice=ast.Tuple(elts=parts)):
            inner = tuple(... if _is_dots(part) else _type(part, path) for part in parts)
            return (tuple if kind == "tuple" else list)[inner]
        case ast.Subscript(value=ast.Name(id=("tuple" | "list") as kind), slice=part):
            return (tuple if kind == "tuple" else list)[_type(part, path)]
    raise TypeError(f"{path}: an option needs a simple annotation, found {ast.unparse(node) if node else 'none'}")


def _is_dots(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _default(name: str, node: ast.expr | None, path: str) -> Any:
    if node is None:
        return ...  # required
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise TypeError(f"{path}: the default of {name} must be a literal, found {ast.unparse(node)}") from None
