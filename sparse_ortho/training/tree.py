"""Nested state as arrays and plain data, and back: what a checkpoint stores without pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def flatten(value: Any, path: str = "") -> tuple[dict[str, np.ndarray], Any]:
    """Tensors by path, and the same tree with {"tensor": path, "shape": ...} in their places."""
    if isinstance(value, torch.Tensor | np.ndarray):
        array = numpy(value) if isinstance(value, torch.Tensor) else value
        return {path: array}, {"tensor": path, "shape": list(array.shape), "torch": isinstance(value, torch.Tensor)}
    if not isinstance(value, dict):
        return {}, value
    tensors, plain = {}, {}
    for key, item in value.items():
        below, plain[key] = flatten(item, f"{path}/{key}")
        tensors |= below
    return tensors, plain


def unflatten(tensors: dict[str, np.ndarray], plain: Any) -> Any:
    """The inverse; shapes are kept apart because the file makes scalars one-dimensional."""
    if not isinstance(plain, dict):
        return plain
    if plain.keys() == {"tensor", "shape", "torch"}:
        array = np.array(tensors[plain["tensor"]]).reshape(plain["shape"])
        return torch.from_numpy(array) if plain["torch"] else array
    return {key: unflatten(tensors, item) for key, item in plain.items()}
