"""One seed of one cell on one device: what stage `train` does once something is to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sparse_ortho.devices import prepare
from sparse_ortho.masks import maskable
from sparse_ortho.plan.job import Task
from sparse_ortho.registry import beside, load, load_path
from sparse_ortho.stages.bundle import Context, split
from sparse_ortho.stages.networks import build
from sparse_ortho.stages.options import options_of
from sparse_ortho.store import Result
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.progress import News
from sparse_ortho.training.resident import resident
from sparse_ortho.training.rewired import Rewired
from sparse_ortho.training.runs import run_arrays
from sparse_ortho.training.stopping import Stopping
from sparse_ortho.training.tricks import Tricked


def train_task(
    task: Task,
    streams: Streams,
    images: Any,
    start: Any,
    device: str,
    context: Context,
    scratch: Path,
    seed: int,
    more: Sequence[Part] = (),
) -> Result:
    options = train_options(task)
    place = on_device(images, device, options)
    model, masks = network_of(task, start)
    parts: list[Part] = []
    if "rule" in task.spec:
        masks = masks or {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in maskable(model).items()}
        name, told = options_of(task.spec["rule"])
        part = beside("rules", name, "PART", "")  # of a rule that is more than moving masks, as the plan sees it too
        parts.append((load_path(part) if part else Rewired)(load("rules", name)(**told)))
    for name, told in task.spec.get("tricks", {}).items():
        parts.append(Tricked(name, load("tricks", name)(**told)))
    parts += more
    news = News(lambda line: context.say(f"train {task.id} seed {seed}: {line}"))
    with Stopping() as stopping:
        checkpoint = Checkpointer(scratch, context.checkpoint_every, stopping)
        network = (model, images["splits"], masks, options, streams, place)
        mine: dict[str, Any] = {"parts": parts, "checkpoint": checkpoint, "news": news}
        if options.ranks == 1:
            outcome = train_seed(*network, **mine)
        else:
            from sparse_ortho.training.together import train_together

            outcome = train_together(*network, folder=scratch, **mine)
    kept = {name: array for part in parts for name, array in part.arrays().items()}
    return Result({"record": outcome.record, "curves": outcome.curves}, run_arrays(model, masks) | kept)


def train_options(task: Task) -> TrainOptions:
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in task.spec["train"].items()}
    return TrainOptions(**given)


def on_device(images: Any, device: str, options: TrainOptions) -> torch.device:
    """The device, with the data set there: once a process, as all seeds of a bundle train on the same tensors."""
    place = prepare(device, options.threads)
    if "splits" not in images:
        images["splits"] = resident(images["arrays"], images["facts"]["facts"], place)
    return place


def network_of(task: Task, start: Any) -> tuple[torch.nn.Module, dict[str, torch.Tensor] | None]:
    """The initialised network and its masks."""
    model = build(task.spec)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in split(start, "weights")})
    return model, {name: torch.from_numpy(array) for name, array in split(start, "masks")} or None
