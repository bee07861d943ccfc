"""The commands that keep the store in order, as a person calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparse_ortho import storekeeping
from sparse_ortho.errors import UserError
from sparse_ortho.plan import job as jobs
from sparse_ortho.plan import paths, studies
from sparse_ortho.plan.layout import STAGES
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages.planning import planned_jobs
from sparse_ortho.store import Store

Say = Callable[[str], None]


def forget(store: Store, plan: Plan, cell: str, say: Say) -> None:
    """Drop a cell from the store, and the artifacts that hold it, so that the next call makes it again."""
    count = storekeeping.forget(store, cell)
    holding = [
        path
        for study in plan.studies_here()
        for stage in STAGES[1:]
        for name, bundle in plan.bundles(study, stage).items()
        if any(node.id.startswith(cell) for node in bundle.nodes)
        for path in (paths.bundle(stage, name), paths.curves(name))
    ]
    holding += [str(path) for kind in ("cells", "weights") for path in Path(paths.RESULTS, kind).glob(f"{cell}*")]
    gone = [path for path in dict.fromkeys(holding) if Path(path).exists()]  # bundles of two stages may share a name
    for path in gone:
        Path(path).unlink()
    say(f"forgot {count} entries of {cell} and deleted {len(gone)} artifacts that held it; snakemake makes them again")


def gc(store: Store, plan: Plan, delete: bool, say: Say) -> None:
    """Entries and artifacts that no study plans at any scale: listed, and with `delete` gone."""
    known: set[tuple[str, str]] = set()
    kept: list[str] = []
    for scale in sorted({scale for study in plan.names for scale in studies.read(study, plan.root)[0].scales}):
        there = [s for s in plan.names if scale in studies.read(s, plan.root)[0].scales]
        scaled = Plan(plan.config.model_dump() | {"scale": scale, "studies": there}, plan.root)
        known |= {(stage, node.id) for s in there for stage in STAGES for node in scaled.study(s).nodes(stage)}
        kept += [path for _, _, _, outputs in planned_jobs(scaled) for path in outputs]
    doomed = storekeeping.collect(store, lambda stage, cell: (stage, cell) in known, delete)
    orphans = storekeeping.orphans(Path(paths.RESULTS), kept)
    for path in orphans:
        if delete:
            path.unlink()
    for path in [*doomed, *orphans]:
        say(f"{'deleted' if delete else 'would delete'} {path}")
    say(f"{len(doomed)} entries of the store and {len(orphans)} artifacts that no study plans")


def size(store: Store, say: Say) -> None:
    for stage, (count, total) in storekeeping.size(store).items():
        say(f"{stage:8}{count:8} entries{total / 1e6:12.1f} MB")


def export(store: Store, plan: Plan | None, archive: Path, say: Say) -> None:
    """The whole store, or of a plan what its configured studies would be served: made by the sources of now."""
    if plan is None:
        count = storekeeping.export(store, archive)
    else:
        tasks = [(job.stage, task) for job in jobs_of(plan) for task in job.cells]
        made = {(stage, task.id, seed): task.code for stage, task in tasks for seed in task.seeds}

        def wanted(stage: str, about: Mapping[str, Any]) -> bool:
            return made.get((stage, about["cell"], about["seed"])) == about["code"]

        if not any(wanted(stage, facts["about"]) for stage, _, facts in storekeeping.entries(store)):
            named = ", ".join(plan.config.studies)
            raise UserError("export", f"nothing of {named} at scale {plan.config.scale} is in the store")
        count = storekeeping.export(store, archive, wanted)
    say(f"{count} entries in {archive}")


def jobs_of(plan: Plan) -> Iterator[jobs.Job]:
    """What keeps its seeds in the store."""
    for study in plan.config.studies:
        for stage in STAGES[1:]:
            for name in plan.bundles(study, stage):
                yield jobs.load(plan.job(stage, name))


def take_in(store: Store, archive: Path, say: Say) -> None:
    taken, refused = storekeeping.take_in(store, archive)
    if refused:
        told = f"{refused} of its entries are damaged or not what their key says and were left out, {taken} were taken"
        raise UserError(str(archive), told)
    say(f"took {taken} entries from {archive}")
