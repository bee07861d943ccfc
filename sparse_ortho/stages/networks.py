"""From a spec to a network: what every stage with a model builds first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sparse_ortho.registry import load
from sparse_ortho.stages.options import options_of


def build(spec: Mapping[str, Any], device: str = "cpu") -> torch.nn.Module:
    name, options = options_of(spec["model"])
    with torch.device(device):
        return load("models", name)(tuple(spec["shape"]), spec["classes"], **options)
