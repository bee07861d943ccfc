"""Several seeds of one cell on the CPU: what stage `train` does where it trains them together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sparse_ortho.plan.job import Task
from sparse_ortho.stages.bundle import Context
from sparse_ortho.stages.networks import build
from sparse_ortho.stages.training import network_of, on_device, train_options
from sparse_ortho.store import Result
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.lockstep import Seed, train_seeds, worth_it
from sparse_ortho.training.progress import News
from sparse_ortho.training.runs import run_arrays
from sparse_ortho.training.stopping import Stopping


def wanted(task: Task) -> bool:
    return worth_it(build(task.spec, "meta"), train_options(task))


def train_together(
    task: Task,
    streams: Mapping[int, Streams],
    images: Any,
    starts: Mapping[int, Any],
    context: Context,
    folders: Mapping[int, Path],
) -> dict[int, Result]:
    options = train_options(task)
    place = on_device(images, "cpu", options)
    with Stopping() as stopping:
        seeds: dict[int, Seed] = {}
        for number, folder in folders.items():
            news = News(partial(_say, context, f"train {task.id} seed {number}"))
            checkpoint = Checkpointer(folder, context.checkpoint_every, stopping)
            seeds[number] = Seed(*network_of(task, starts[number]), streams[number], checkpoint, news)
        outcomes = train_seeds(list(seeds.values()), images["splits"], options, place)
    return {
        number: Result({"record": outcome.record, "curves": outcome.curves}, run_arrays(seed.model, seed.masks))
        for (number, seed), outcome in zip(seeds.items(), outcomes, strict=True)
    }


def _say(context: Context, about: str, line: str) -> None:
    context.say(f"{about}: {line}")
