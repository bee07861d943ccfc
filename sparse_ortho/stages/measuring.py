"""One seed of one cell measured: what stage `measure` does once something is to be measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sparse_ortho.devices import prepare
from sparse_ortho.plan.job import Task
from sparse_ortho.registry import load
from sparse_ortho.stages.networks import build
from sparse_ortho.stages.options import options_of
from sparse_ortho.streams import Streams
from sparse_ortho.training.resident import few, order


def measure_task(task: Task, streams: Streams, images: Any, weights: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The quantities of a registered measurement, on the images of the first batch that training would see."""
    device, arrays, facts = prepare("cpu", 1), images["arrays"], images["facts"]["facts"]
    model = build(task.spec)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})

    def take(count: int) -> torch.Tensor:
        rows = arrays["train"]
        return few(arrays, facts, rows[order(streams, 0, len(rows), device)[:count].numpy()])[0]

    name, options = options_of(task.spec["measure"])
    return load("measures", name)(model, take, **options)
