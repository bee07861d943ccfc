"""What exists under which name: one line a method, `name -> module:attribute`, alphabetical.

Nothing is imported until it is asked for. Third parties add names through entry points `sparse_ortho.<kind>`. This file
is the only place that imports by string, and it is in no code digest: a new line here makes nothing stale.
"""

from __future__ import annotations

import functools
import importlib
import re
from importlib import metadata
from typing import Any

from sparse_ortho.errors import UserError

TABLES: dict[str, dict[str, str]] = {
    "datasets": {
        "digits": "sparse_ortho.data.digits:digits",
        "mnist": "sparse_ortho.data.mnist:mnist",
    },
    "densities": {
        "erk": "sparse_ortho.densities.erk:erk",
        "uniform": "sparse_ortho.densities.uniform:uniform",
    },
    "exhibits": {
        "curves": "sparse_ortho.report.curves:render",
        "layers": "sparse_ortho.report.layers:render",
        "lines": "sparse_ortho.report.lines:render",
        "matrix": "sparse_ortho.report.matrix:render",
        "table": "sparse_ortho.report.tables:render",
    },
    "inits": {
        "default": "sparse_ortho.inits.default:default",
        "eoi": "sparse_ortho.inits.eoi:eoi",
        "isometry": "sparse_ortho.inits.isometry:isometry",
        "isometry@as_released": "sparse_ortho.inits.isometry:isometry_as_released",
        "kaiming": "sparse_ortho.inits.kaiming:kaiming",
        "orthogonal": "sparse_ortho.inits.orthogonal:orthogonal",
    },
    "measures": {
        "jacobian": "sparse_ortho.measure.jacobian:jacobian",
    },
    "models": {
        "mlp": "sparse_ortho.models.mlp:mlp",
        "resnet": "sparse_ortho.models.resnet:cifar_resnet",
    },
    "rules": {},
    "scores": {
        "grasp": "sparse_ortho.scores.grasp:grasp",
        "magnitude": "sparse_ortho.scores.magnitude:magnitude",
        "random": "sparse_ortho.scores.random:random",
        "snip": "sparse_ortho.scores.snip:snip",
        "synflow": "sparse_ortho.scores.synflow:synflow",
    },
}


NAME = re.compile(r"[a-z][a-z0-9_@]*")  # names are parts of file names


@functools.cache
def table(kind: str) -> dict[str, str]:
    """All names of a kind, our own and those of installed plug-ins."""
    entries = dict(TABLES[kind])
    for point in metadata.entry_points(group=f"sparse_ortho.{kind}"):
        if not NAME.fullmatch(point.name):
            where = f"entry point sparse_ortho.{kind}"
            raise UserError(where, "a name needs lower case", found=point.name, allowed="letters, digits, _ and @")
        if point.name in entries:
            raise UserError(
                f"entry point sparse_ortho.{kind}", f"{point.value} takes a name already in use", found=point.name
            )
        entries[point.name] = point.value
    return dict(sorted(entries.items()))


def resolve(kind: str, name: str, where: str = "") -> str:
    """`module:attribute` of a registered name; an unknown one is refused with the nearest."""
    entries = table(kind)
    if not isinstance(name, str) or name not in entries:
        raise UserError(where or kind, f"unknown {kind.removesuffix('s')}", found=name, allowed=entries)
    return entries[name]


def load(kind: str, name: str) -> Any:
    """The registered object itself, imported now."""
    module, _, attribute = resolve(kind, name).partition(":")
    return getattr(importlib.import_module(module), attribute)


def beside(kind: str, name: str, attribute: str, otherwise: Any) -> Any:
    """A module-level literal of a registered method, such as its NEEDS."""
    return getattr(importlib.import_module(resolve(kind, name).partition(":")[0]), attribute, otherwise)


def load_path(path: str) -> Any:
    """Any `module:attribute`, for lazy public names."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def available() -> dict[str, list[str]]:
    """Every name that a config may use, by kind."""
    return {kind: list(table(kind)) for kind in sorted(TABLES)}
