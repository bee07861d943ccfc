"""The exhibits as far as they can be made from what is finished: read from the store, nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import write_bytes
from sparse_ortho.plan import job as jobs
from sparse_ortho.plan import paths
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.registry import load
from sparse_ortho.stages.exhibit import one_layer
from sparse_ortho.store import Result, Store
from sparse_ortho.storekeeping import entries


class Finished:
    """What the store holds of the planned cells, made by the code and environment of now."""

    def __init__(self, plan: Plan, store: Store):
        self._store = store
        self._keys: dict[tuple[str, int], tuple[str, str, float]] = {}
        wanted = {
            (task.id, s): (job.stage, task.code, dict(job.env))
            for job in planned(plan)
            for task in job.cells
            for s in task.seeds
        }
        for stage, key, facts in entries(store):
            about = facts["about"]
            place = (about["cell"], about["seed"])
            if wanted.get((about["cell"], about["seed"])) == (stage, about["code"], about["env"]):
                age = store.path(stage, key).stat().st_mtime
                if place not in self._keys or self._keys[place][2] < age:
                    self._keys[place] = (stage, key, age)

    def get(self, cell: str, seed: int) -> Result | None:
        found = self._keys.get((cell, seed))
        return self._store.get(found[0], found[1]) if found else None

    def entry(self, identity: str, seed: int) -> Mapping[str, Any]:
        result = self.get(identity, seed)
        return {"row": result.row if result else {"status": "unfinished", "reason": "not made yet"}}

    def tensors(self, identity: str, seed: int, prefix: str = "") -> dict[str, Any]:
        result = self.get(identity, seed)
        found = result.tensors if result else {}
        return {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}


def planned(plan: Plan) -> list[jobs.Job]:
    names = [
        (stage, name)
        for study in plan.config.studies
        for stage in ("init", "train")
        for name in plan.bundles(study, stage)
    ]
    return [jobs.load(plan.job(stage, name)) for stage, name in names]


def main(plan: Plan, store: Store, say: Callable[[str], None]) -> None:
    finished = Finished(plan, store)
    for study in plan.config.studies:
        for name in plan.study(study).exhibits:
            job = jobs.load(plan.exhibit_job(study, name))
            exhibit, cells = job.more["exhibit"], jobs.load_cells(job.more["cells"])
            found = {(c["id"], s): finished.get(c["id"], s) for c in cells for s in c["seeds"]}
            done = sum(result is not None for result in found.values())
            say(f"{study}/{name}: {done} of {len(found)} seeds are finished")
            if done == 0 or (exhibit["reads"] == "inits" and done < len(found)):
                continue
            files = render(exhibit, cells, found, finished, job.more["published"])
            for suffix, content in files.items():
                path = f"{paths.RESULTS}/partial/{study}/{plan.config.scale}/{name}.{suffix}"
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, content.encode() if isinstance(content, str) else content)
            if "md" in files:
                say("\n" + files["md"])


def render(exhibit: Any, cells: Any, found: Any, finished: Finished, published: Any) -> dict[str, Any]:
    renderer = load("exhibits", exhibit["kind"])
    if exhibit["reads"] == "inits":
        return renderer(exhibit, *one_layer(exhibit, cells, finished))
    rows = [(result.row, {"cell": cell, "seed": seed}) for (cell, seed), result in found.items() if result]
    if exhibit["reads"] == "records":
        return renderer(exhibit, cells, [row["record"] | key for row, key in rows], published)
    return renderer(exhibit, cells, [line | key for row, key in rows for line in row["curves"]])
