"""A method as a spec writes it, {name: ..., options}, taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def options_of(method: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return method["name"], {key: value for key, value in method.items() if key != "name"}
