"""One process makes one bundle: cell by cell, seed by seed, each kept in the store as it is finished.

This is the loop that the mask, init, train and measure stages share. What is in the store is served from there,
before torch is imported. A cell that its method refuses is a row with a status, kept like any other; anything
unexpected is told after the other cells are done and ends the program, with nothing written but what the store keeps.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sparse_ortho.artifacts import TensorFile, digest_arrays, read_facts, read_tensors, write_tensors
from sparse_ortho.errors import DiskError, UserError
from sparse_ortho.plan.job import Job, Task
from sparse_ortho.stages.budget import Budget, Place, spent
from sparse_ortho.store import Result, Store, key_of
from sparse_ortho.streams import Streams

WORTH_TELLING = 5.0  # seconds above which a seed of a quick stage has a line of its own
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """What a program hands its stage: the store, a place for news, and what is about the run rather than the result."""

    store: Store
    say: Callable[[str], None]
    checkpoint_every: float = 30.0
    devices: Callable[[int], None] = lambda wanted: None  # what CUDA may use is settled before torch looks
    budget: Budget | None = None


@dataclass(frozen=True)
class Made:
    task: Task
    seed: int
    result: Result
    inputs: Mapping[str, str]  # role -> content digest of what this seed read


Inputs = Callable[[Task, int], Mapping[str, str]]
Make = Callable[[Task, int, Path], Result]


def run(
    job: Job,
    context: Context,
    inputs: Inputs,
    make: Make,
    news: Callable[[dict[str, Any]], str],
    along: Mapping[tuple[str, int], tuple[Result, float]] | None = None,
) -> list[Made]:
    """Every seed of every cell of the job, in the job's order. `along` holds what `make` kept in the store together
    with a seed that it was asked for, each with its share of the seconds."""
    along = {} if along is None else along
    made, failed, served = [], [], 0
    total = sum(len(task.seeds) for task in job.cells)
    places = [(task, seed) for task in job.cells for seed in task.seeds]
    for number, (task, seed) in enumerate(chosen(places, job, context, inputs), start=1):
        read = inputs(task, seed)
        key, about = place_of(job, task, seed, read)
        started = time.monotonic()
        try:
            if (early := along.get((task.id, seed))) is not None:
                result, fresh = early[0], True
            else:
                result, fresh = context.store.ensure(
                    job.stage, key, about, lambda scratch, t=task, s=seed: make(t, s, scratch)
                )
        except UserError:
            raise
        except Exception as error:
            LOG.error("%s seed %s\n%s", task.id, seed, traceback.format_exc())
            failed.append(f"{task.id} seed {seed}: {type(error).__name__}: {error}")
            continue
        share = along.get((task.id, seed), (result, time.monotonic() - started))[1]
        seconds, served = share, served + (not fresh)
        if fresh and (seconds > WORTH_TELLING or job.stage == "train"):
            told = f"{task.id} seed {seed}: {news(result.row)} ({seconds:.1f} s)"
            context.say(f"{job.stage} {number}/{total} of {job.bundle}: {told}")
        made.append(Made(task, seed, result, read))
    if failed:
        raise UserError(f"{job.stage}/{job.bundle}", f"{len(failed)} of {total} seeds failed, the first: {failed[0]}")
    if len(made) < total:
        raise spent(f"{job.stage}/{job.bundle}", len(made), total)
    order = {(task.id, seed): number for number, (task, seed) in enumerate(places)}
    made.sort(key=lambda item: order[item.task.id, item.seed])
    refused = [
        f"{m.task.id} seed {m.seed}: {news(m.result.row)}" for m in made if m.result.row.get("status") == "refused"
    ]
    context.say(f"{job.stage} {job.bundle}: {total} seeds of {len(job.cells)} cells, {served} of them from the store")
    for line in refused:
        context.say(f"{job.stage} {job.bundle}: refused: {line}")
    return made


def chosen(places: Iterable[Place], job: Job, context: Context, inputs: Inputs) -> Iterable[Place]:
    """What is to be made, in the job's order; under a budget what it allows, in its own."""

    def finished(task: Task, seed: int) -> bool:
        return context.store.has(job.stage, place_of(job, task, seed, inputs(task, seed))[0])

    return context.budget.within(places, finished) if context.budget else places


def place_of(job: Job, task: Task, seed: int, read: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The key of a seed in the store, and what is kept beside it."""
    about = {"cell": task.id, "spec": dict(task.spec), "seed": seed, "code": task.code}
    about |= {"env": dict(job.env), "inputs": dict(read)}
    return key_of(job.stage, task.spec, seed, task.code, job.env, read), about


def refusing(make: Callable[[], Result]) -> Result:
    """What a method makes of a cell, or a row that says why it refuses it. A full disk is no property of the cell."""
    try:
        return make()
    except DiskError:
        raise
    except UserError as error:
        return Result({"status": "refused", "reason": str(error)})


def streams_of(task: Task, seed: int) -> Streams:
    return Streams(seed, task.spec.get("fixed_seeds", {}))


def write(path: str, job: Job, made: Iterable[Made]) -> None:
    """The tensors of all seeds in one file, `<cell>/<seed>/<tensor>`, with what each of them is."""
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"stage": job.stage, "env": dict(job.env), "cells": {}}
    for item in made:
        cell = facts["cells"].setdefault(item.task.id, identity_facts(item.task) | {"seeds": {}})
        digest = digest_arrays(item.result.tensors)
        cell["seeds"][str(item.seed)] = {"row": item.result.row, "inputs": dict(item.inputs), "digest": digest}
        arrays |= {f"{item.task.id}/{item.seed}/{name}": array for name, array in item.result.tensors.items()}
    write_tensors(path, arrays, facts)


def identity_facts(task: Task) -> dict[str, Any]:
    """What an artifact says it is."""
    return {"spec": dict(task.spec), "code": task.code}


class Starts(Protocol):
    """Where the row and the tensors of a seed are found."""

    def entry(self, identity: str, seed: int) -> Mapping[str, Any]: ...

    def tensors(self, identity: str, seed: int, prefix: str = "") -> dict[str, np.ndarray]: ...


class Bundles:
    """Several tensor bundles read as one: which file holds a cell, its rows and digests, its tensors when wanted."""

    def __init__(self, files: Iterable[str]):
        self._where: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        self._open: dict[str, TensorFile] = {}  # those of which tensors were wanted
        for file in files:
            for identity, cell in read_facts(file)["cells"].items():
                for seed, entry in cell["seeds"].items():
                    self._where[identity, seed] = (file, entry)

    def entry(self, identity: str, seed: int) -> dict[str, Any]:
        """Row, inputs and digest of a seed."""
        return self._find(identity, seed)[1]

    def tensors(self, identity: str, seed: int, prefix: str = "") -> dict[str, np.ndarray]:
        file, _ = self._find(identity, seed)
        if file not in self._open:
            self._open[file] = TensorFile(file)
        return self._open[file].tensors(f"{identity}/{seed}/{prefix}")

    def _find(self, identity: str, seed: int) -> tuple[str, dict[str, Any]]:
        found = self._where.get((identity, str(seed)))
        if found is None:
            raise UserError(identity, f"seed {seed} is in none of the input files: build them again")
        return found


class Images:
    """Data artifacts by the identity of their data node, read when first asked for."""

    def __init__(self, files: Iterable[str]):
        self._files = {facts["id"]: (file, facts) for file in files for facts in (read_facts(file),)}
        self._read: dict[str, tuple[dict[str, np.ndarray], Any]] = {}

    def digest(self, identity: str) -> str:
        return self._files[identity][1]["digest"]

    def of(self, identity: str) -> tuple[dict[str, np.ndarray], Any]:
        """Arrays and facts of a data set."""
        if identity not in self._read:
            file, facts = self._files[identity]
            self._read[identity] = (read_tensors(file)[0], facts["facts"])
        return self._read[identity]


def from_start(starts: Bundles, data_digest: str) -> Inputs:
    """The inputs of a stage that reads the data set and a cell's initialised weights."""

    def inputs(task: Task, seed: int) -> dict[str, str]:
        return {"data": data_digest, "init": starts.entry(task.spec["inputs"]["init"], seed)["digest"]}

    return inputs


def split(tensors: Mapping[str, np.ndarray], family: str) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of one family, `weights/` or `masks/`, without that prefix."""
    for name, array in tensors.items():
        if name.startswith(family + "/"):
            yield name.removeprefix(family + "/"), array
