"""A trained model as a file: `weights/<name>`, `masks/<name>`, and in the facts how to build the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparse_ortho import registry
from sparse_ortho.artifacts import read_tensors
from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks, plain_name


def run_arrays(model: torch.nn.Module, masks: Mapping[str, torch.Tensor] | None) -> dict[str, np.ndarray]:
    """The tensors of a weights artifact; parameters and buffers alike."""
    named = {f"weights/{plain_name(name)}": value for name, value in model.state_dict().items()}
    named |= {f"masks/{name}": mask for name, mask in (masks or {}).items()}
    return {name: value.detach().cpu().numpy() for name, value in named.items()}


def load_run(path: Path | str) -> tuple[torch.nn.Module, Masks]:
    """The model of a weights artifact on the CPU, and its masks (none for a dense run), bound to it."""
    arrays, facts = read_tensors(path)
    try:
        name = facts["model"]["name"]
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["model"].items() if k != "name"}
        model = registry.load("models", name)(tuple(facts["shape"]), facts["classes"], **options)
    except (KeyError, TypeError) as error:
        raise UserError(str(path), f"does not say how to build its model ({error})") from None
    parts: dict[str, dict[str, np.ndarray]] = {"weights": {}, "masks": {}}
    for key, array in arrays.items():
        kind, _, rest = key.partition("/")
        parts.setdefault(kind, {})[rest] = array
    fresh = model.state_dict()
    if {k: v.size for k, v in parts["weights"].items()} != {k: v.numel() for k, v in fresh.items()}:
        raise UserError(str(path), f"does not hold the weights of the model {name!r} that it names")
    # reshape: the file makes scalars (BatchNorm's counter) one-dimensional.
    model.load_state_dict({k: torch.from_numpy(v.copy()).reshape(fresh[k].shape) for k, v in parts["weights"].items()})
    reattach(model, (facts.get("spec") or {}).get("tricks") or {}, parts.get("tricks", {}))
    return model, Masks.from_arrays(parts["masks"], model)


def reattach(model: torch.nn.Module, tricks: Mapping[str, Mapping[str, Any]], arrays: Mapping[str, np.ndarray]) -> None:
    """Put back what the evaluated network had besides its own layers: the tricks of its spec that are always on."""
    for name, options in tricks.items():
        trick = registry.load("tricks", name)(**options)
        if not trick.always_on:
            continue
        extra = trick.attach(model).extra
        mine = {key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")}
        fresh = extra.state_dict()
        extra.load_state_dict({k: torch.from_numpy(v.copy()).reshape(fresh[k].shape) for k, v in mine.items()})
