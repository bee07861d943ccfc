"""One seed of one cell measured: what stage `measure` does once something is to be measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sparse_ortho.devices import prepare
from sparse_ortho.measure.subject import Batch, Part, Subject
from sparse_ortho.plan.job import Task
from sparse_ortho.registry import load
from sparse_ortho.stages.bundle import split
from sparse_ortho.stages.networks import build
from sparse_ortho.stages.options import options_of
from sparse_ortho.streams import Streams
from sparse_ortho.training.losses import cross_entropy
from sparse_ortho.training.resident import few, order
from sparse_ortho.training.runs import reattach

Network = tuple[torch.nn.Module, dict[str, torch.Tensor]]


def measure_task(
    task: Task,
    streams: Streams,
    images: Any,
    networks: Sequence[Mapping[str, np.ndarray]],
    tricks: Mapping[str, Any],
) -> dict[str, float]:
    """The quantities of a registered measurement, of the first network; a second one is that of the next seed."""
    prepare("cpu", 1)
    name, options = options_of(task.spec["measure"])
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    options.pop("at", None)  # an option of every measurement (measure/moment.py): which network, the stage has seen to
    model, masks = network(task.spec, networks[0], tricks)
    other = None if len(networks) == 1 else lambda: network(task.spec, networks[1], tricks)
    subject = Subject(batches_of(images, streams), cross_entropy, streams, masks, other)
    return load("measures", name)(model, subject, **options)


def network(spec: Mapping[str, Any], tensors: Mapping[str, np.ndarray], tricks: Mapping[str, Any]) -> Network:
    """A model with its weights and what of its tricks never ends, and its masks."""
    model = build(spec)
    fresh = model.state_dict()
    arrays = {name: torch.from_numpy(np.array(array)) for name, array in split(tensors, "weights")}
    # reshape: a file makes scalars (BatchNorm's counter) one-dimensional
    model.load_state_dict({name: array.reshape(fresh[name].shape) for name, array in arrays.items()})
    reattach(model, tricks, dict(split(tensors, "tricks")))
    return model, {name: torch.from_numpy(array) for name, array in split(tensors, "masks")}


def batches_of(images: Any, streams: Streams) -> Any:
    """The first images of the first epoch's order; of a test part as many, evenly spaced: some are sorted by class."""
    arrays, facts = images["arrays"], images["facts"]["facts"]

    def batches(part: Part, count: int, size: int) -> Iterator[Batch]:
        rows = arrays[part]
        if part == "train":
            rows = rows[order(streams, 0, len(rows), torch.device("cpu"))[:count].numpy()]
        elif count < len(rows):
            rows = rows[np.arange(count) * len(rows) // count]
        for start in range(0, len(rows), size):
            yield few(arrays, facts, rows[start : start + size])

    return batches
