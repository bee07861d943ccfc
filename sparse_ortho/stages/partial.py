"""The exhibits as far as they can be made from what is finished: read from the store, nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sparse_ortho.plan import job as jobs
from sparse_ortho.plan import paths
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages.bundle import Starts
from sparse_ortho.stages.exhibit import Row, layer_rows, render, write
from sparse_ortho.store import Result, Store
from sparse_ortho.storekeeping import entries


class Finished:
    """What the store holds of the planned cells, made by the code and environment of now."""

    def __init__(self, plan: Plan, store: Store):
        self._store = store
        self._keys: dict[tuple[str, int], tuple[str, str, float]] = {}
        wanted = {
            (task.id, seed): (job.stage, task.code, dict(job.env))
            for job in planned(plan)
            for task in job.cells
            for seed in task.seeds
        }
        for stage, key, facts in entries(store):
            about = facts["about"]
            place = (about["cell"], about["seed"])
            if wanted.get(place) == (stage, about["code"], about["env"]):
                age = store.path(stage, key).stat().st_mtime
                if place not in self._keys or self._keys[place][2] < age:
                    self._keys[place] = (stage, key, age)

    def get(self, cell: str, seed: int) -> Result | None:
        found = self._keys.get((cell, seed))
        return self._store.get(found[0], found[1]) if found else None

    def rows(self, reads: str, planned: set[tuple[str, int]]) -> Iterable[Row]:
        found = [(cell, seed, self.get(cell, seed)) for cell, seed in sorted(planned)]
        rows = [({"cell": cell, "seed": seed}, result.row) for cell, seed, result in found if result]
        if reads == "records":
            return [row["record"] | about for about, row in rows]
        if reads == "runs":
            return [line | about for about, row in rows for line in (row["record"], *row["curves"])]
        if reads == "layers":
            return [line for about, row in rows for line in layer_rows(about["cell"], about["seed"], {"row": row})]
        return [line | about for about, row in rows for line in row[reads]]

    def starts(self) -> Starts:
        return self

    def entry(self, identity: str, seed: int) -> Row:
        result = self.get(identity, seed)
        return {"row": result.row if result else {"status": "unfinished", "reason": "not made yet"}}

    def tensors(self, identity: str, seed: int, prefix: str = "") -> dict[str, Any]:
        result = self.get(identity, seed)
        found = result.tensors if result else {}
        return {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}


def planned(plan: Plan) -> list[jobs.Job]:
    stages = ("init", "ticket", "train", "measure", "bench")
    names = [(stage, name) for study in plan.config.studies for stage in stages for name in plan.bundles(study, stage)]
    return [jobs.load(plan.job(stage, name)) for stage, name in names]


def main(plan: Plan, store: Store, say: Callable[[str], None]) -> None:
    finished = Finished(plan, store)
    for study in plan.config.studies:
        for name in plan.study(study).exhibits:
            job = jobs.load(plan.exhibit_job(study, name))
            exhibit, cells = job.more["exhibit"], jobs.load_cells(job.more["cells"])
            wanted = [(cell["id"], seed) for cell in cells for seed in cell["seeds"]]
            done = sum(finished.get(*place) is not None for place in wanted)
            say(f"{study}/{name}: {done} of {len(wanted)} seeds are finished")
            if done == 0 or (exhibit["reads"] == "inits" and done < len(wanted)):
                continue
            files = render(exhibit, cells, finished, job.more["published"])
            for suffix, content in files.items():
                write(f"{paths.RESULTS}/partial/{study}/{plan.config.scale}/{name}.{suffix}", content)
            if "md" in files:
                say("\n" + files["md"])
