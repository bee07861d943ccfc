"""The FACTS of a data set as a cell names it: read from the source, with the options that decide some of them.

{name: image_folder, size: 48} has the shape (3, 48, 48). Nothing is imported, and no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.facts import with_options
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.registry import resolve


def facts_of(data: Mapping[str, Any], where: str = "data") -> dict[str, Any]:
    """The facts of {name, options}; options that are left out have their default."""
    path = resolve("datasets", data["name"], f"{where}.name")
    stated = literal_of(path, "FACTS", None)
    if not isinstance(stated, dict):
        raise UserError(f"{where}.name", f"the module of the data set {data['name']} states no FACTS ({path})")
    return with_options(stated, defaults(path) | dict(data), f"{where} {data['name']}")
