"""The network of a bench that needs one: built, with the weights it starts from, its masks, and images to show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sparse_ortho.bench.setting import Setting
from sparse_ortho.masks import Masks
from sparse_ortho.registry import load
from sparse_ortho.training.resident import few, order


@dataclass(frozen=True)
class Network:
    model: torch.nn.Module
    masks: Masks | None  # bound to the model; None if it is dense
    take: Callable[[int], tuple[torch.Tensor, torch.Tensor]]  # so many images of the first batch, with their labels


def network_of(setting: Setting) -> Network:
    """On the CPU; anew at every call, so that one measurement may change it."""
    options = dict(setting.spec["model"])
    model = load("models", options.pop("name"))(tuple(setting.spec["shape"]), setting.spec["classes"], **options)
    fresh = model.state_dict()  # a file makes scalars (BatchNorm's counter) one-dimensional
    arrays = {layer: torch.from_numpy(array.copy()) for layer, array in setting.weights.items()}
    model.load_state_dict({layer: array.reshape(fresh[layer].shape) for layer, array in arrays.items()})

    def take(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        arrays, facts = setting.images["arrays"], setting.images["facts"]["facts"]
        rows = arrays["train"]
        return few(arrays, facts, rows[order(setting.streams, 0, len(rows), torch.device("cpu"))[:count].numpy()])

    return Network(model, Masks.from_arrays(setting.masks, model) if setting.masks else None, take)
