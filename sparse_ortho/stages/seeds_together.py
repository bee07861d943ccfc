"""All seeds of a cell that are still to be trained, in one go, where that is faster and gives the same bits.

Asked for one seed, it takes the places of the others in the store as well, one inside the other, always in the order of
the job, so that no two processes wait for each other. Each seed has its own lock, checkpoints and entry, as if it had
been trained alone; after a crash whatever is missing is trained, together or not. Under a budget (`max_hours`) seeds
begin one by one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparse_ortho.plan.job import Task
from sparse_ortho.stages.bundle import place_of, streams_of
from sparse_ortho.store import Result

if TYPE_CHECKING:
    from sparse_ortho.stages.train import Training


class SeedsTogether:
    def __init__(self, training: Training):
        self.training = training
        self.made: dict[tuple[str, int], tuple[Result, float]] = {}  # what a group made, and its share of the seconds

    def make(self, task: Task, seed: int, scratch: Path) -> Result:
        """One seed, and with it those that come after it."""
        others = self._others(task, seed)
        if not others:
            return self.training.make(task, seed, scratch)
        results: dict[int, Result] = {}
        started = time.monotonic()
        self._nested(task, others, {seed: scratch}, results)
        share = (time.monotonic() - started) / len(results)
        self.made |= {(task.id, each): (result, share) for each, result in results.items()}
        return results[seed]

    def _others(self, task: Task, seed: int) -> list[int]:
        """The later seeds of the cell that can go with this one: not in the store, and with weights to start from."""
        training, context = self.training, self.training.context
        if (
            training.job.env["device"] != "cpu"
            or context.budget is not None
            or task.spec.get("rule")
            or task.spec.get("tricks")
        ):
            return []
        later = task.seeds[list(task.seeds).index(seed) + 1 :]
        missing = [other for other in later if not context.store.has(training.job.stage, self._key(task, other))]
        started = [each for each in [seed, *missing] if self._entry(task, each)["row"]["status"] == "ok"]
        if started[:1] != [seed] or len(started) == 1:
            return []
        from sparse_ortho.stages.lockstep import wanted

        return started[1:] if wanted(task) else []

    def _nested(self, task: Task, rest: Sequence[int], folders: dict[int, Path], results: dict[int, Result]) -> None:
        """Fills `results`, by what trains the seeds once the place of the last one is taken."""
        if not rest:
            results |= self._trained(task, folders)
            return
        first, *after = rest
        training = self.training
        key, about = place_of(training.job, task, first, training.inputs(task, first))

        def make(scratch: Path) -> Result:
            folders[first] = scratch
            self._nested(task, after, folders, results)
            return results[first]

        training.context.store.ensure(training.job.stage, key, about, make)
        if first not in folders:  # another process was faster
            self._nested(task, after, folders, results)

    def _trained(self, task: Task, folders: Mapping[int, Path]) -> dict[int, Result]:
        from sparse_ortho.stages.lockstep import train_together

        training = self.training
        starts = {seed: training.starts.tensors(task.spec["inputs"]["init"], seed) for seed in folders}
        streams = {seed: streams_of(task, seed) for seed in folders}
        made = train_together(task, streams, training.pictures(), starts, training.context, folders)
        for seed, result in made.items():
            result.row["record"].update(training.about(self._entry(task, seed)["row"]))
        return made

    def _entry(self, task: Task, seed: int) -> Mapping[str, Mapping[str, str]]:
        return self.training.starts.entry(task.spec["inputs"]["init"], seed)

    def _key(self, task: Task, seed: int) -> str:
        return place_of(self.training.job, task, seed, self.training.inputs(task, seed))[0]
