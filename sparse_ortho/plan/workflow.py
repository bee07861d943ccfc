"""The plan that the rules ask: bundles, their inputs and their jobs. Imports no torch, reads no artifact.

PLAN = Plan(config);  PLAN.targets();  PLAN.inputs("train", bundle, "init");  PLAN.job("train", bundle)
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError
from sparse_ortho.plan import job, mask_sources, paths, protocol, published, studies, tuning, user_files
from sparse_ortho.plan.bundles import Bundle
from sparse_ortho.plan.digest import ROOT, stage_code
from sparse_ortho.plan.identity import Node
from sparse_ortho.plan.layout import STAGES, Layout
from sparse_ortho.plan.trainings import carried, task_of
from sparse_ortho.registry import resolve

ENV = {
    "data": ("numpy", "scikit-learn", "scipy", "pillow", "pyarrow"),
    "mask": ("torch", "numpy", "scipy"),
    "init": ("torch", "numpy", "scipy"),
    "ticket": ("torch", "numpy", "scipy"),
    "train": ("torch", "numpy", "scipy"),
    "measure": ("torch", "numpy", "scipy"),
    "bench": ("torch", "numpy", "scipy"),
    "exhibit": ("matplotlib", "numpy", "pandas", "scipy"),
    "report": ("jinja2",),
}


@functools.cache
def versions(stage: str) -> dict[str, str]:
    """Python's minor and the packages of a stage, read from their metadata."""
    return {"python": ".".join(platform.python_version_tuple()[:2])} | {n: metadata.version(n) for n in ENV[stage]}


class Plan(Layout):
    """A layout together with the job of everything in it: the one parameter of its rule."""

    def __init__(self, config: Mapping[str, Any], root: Path = ROOT):
        super().__init__(config, root)
        self.job = functools.cache(self._job)

    def _job(self, stage: str, name: str) -> str:
        """The job of a bundle: the one parameter of its rule."""
        bundle = self.bundle(stage, name)
        study = self._study_of(name) if stage != "data" else ""
        seeds = self.study(study).seeds if study else {}
        tasks = [task_of(node, [] if stage == "data" else bundle.seeds_of(seeds[node.id])) for node in bundle.nodes]
        more = self.more(stage, *bundle.nodes) | self.trained(study, bundle)
        return job.dump(job.Job(stage, name, self.env(stage), tasks, more))

    def trained(self, study: str, bundle: Bundle) -> dict[str, Any]:
        """The job of the trainings whose networks a bundle measures or prunes: in the store, or trained again."""
        if bundle.stage not in ("measure", "ticket"):
            return {}
        scaled = self.study(study)
        known, env = scaled.nodes("train"), self.env("train")
        return carried(bundle.name, env, bundle.nodes, known, lambda node: scaled.seeds[node.id])

    def more(self, stage: str, *nodes: Node) -> dict[str, Any]:
        """What a job depends on besides its specs: files of the user's own."""
        if stage == "data":
            return user_files.fingerprint(nodes[0].data, self.places.get(nodes[0].data))
        return {"files": found} if (found := mask_sources.files_of(nodes)) else {}

    def cut_job(self, identity: str) -> str:
        """The job that cuts one cell out of its bundles."""
        study, _ = self._find(identity)
        task = job.Task(identity, {}, sorted(self.study(study).seeds[identity]), stage_code("cell"), [])
        return job.dump(job.Job("cell", identity, {}, [task]))

    def weights_job(self, identity: str, seed: int) -> str:
        """The job that takes the trained weights of one seed out of the store (or trains it, if they are gone)."""
        study, found = self._find(identity)
        node = next(node for node in found[0].nodes if node.id == identity)
        planned = sorted(self.study(study).seeds[identity])
        if seed not in planned:
            raise UserError(identity, "no such seed at this scale", found=seed, allowed=planned)
        task = job.Task(identity, node.spec, [seed], stage_code("train", node.methods), sorted(node.methods))
        return job.dump(
            job.Job("train", f"{identity}-s{seed}", self.env("train"), [task], {"writer": stage_code("weights")})
        )

    @functools.cache  # noqa: B019 (one plan a process)
    def exhibit_job(self, study: str, name: str) -> str:
        exhibit, grid, views = self.study(study).exhibits[name]
        renderer = resolve("exhibits", exhibit.kind)
        reads, stage = studies.reads(exhibit), studies.last_stage(exhibit)
        cells = self.study(study).cells
        nodes = [cells[view.id].nodes[stage] for view in views]
        axes = [protocol.axes_of(exhibit, view.axes, node) for view, node in zip(views, nodes, strict=True)]
        more = {
            "exhibit": exhibit.model_dump(mode="json", exclude={"scales"})
            | {"study": study, "scale": self.config.scale, "name": name, "reads": reads, "renderer": renderer}
            | {"footnotes": [*exhibit.footnotes, *grid.footnotes]}
            | tuning.of_job(grid)
            | protocol.of_job(exhibit, nodes),
            "cells": job.dump_cells(
                [vars(v) | {"id": n.id, "axes": a} for v, n, a in zip(views, nodes, axes, strict=True)]
            ),
            "published": self._published(study, name) if exhibit.published else [],
        }
        task = job.Task(name, {}, [], stage_code("exhibit", frozenset({renderer})), [renderer])
        return job.dump(job.Job("exhibit", f"{study}/{self.config.scale}/{name}", self.env("exhibit"), [task], more))

    @functools.cache  # noqa: B019
    def report_job(self) -> str:
        pages = []
        for study in self.config.studies:
            scaled = self.study(study)
            shown = [
                e.model_dump(mode="json", include={"title", "caption", "category", "labels", "kind"})
                | {"name": name, "files": paths.exhibit(e.kind, study, self.config.scale, name)}
                | ({"caption": f"{e.caption} {tuning.sentence(grid)}"} if grid.tune and e.kind != "table" else {})
                for name, (e, grid, _) in scaled.exhibits.items()  # a table tells of its trials itself
            ]
            pages.append({"name": study, "title": scaled.study.title, "paper": scaled.study.paper, "exhibits": shown})
        made = [self._made(study, stage) for study in self.config.studies for stage in STAGES]
        more = {"scale": self.config.scale, "studies": pages, "stages": [row for row in made if row["cells"]]}
        more["env"] = self.env("train") | self.env("exhibit")
        task = job.Task("report", {}, [], stage_code("report"), [])
        return job.dump(job.Job("report", "report", self.env("report"), [task], more))

    def config_job(self) -> str:
        """The configuration as text, for the programs that make a plan of their own."""
        return canonical(self.config.model_dump(mode="json"))

    def env(self, stage: str) -> dict[str, str]:
        """Versions that a stage's results depend on, read without importing; for training the device class too."""
        return dict(versions(stage)) | ({"device": self.device} if stage in ("ticket", "train") else {})

    def _published(self, study: str, exhibit: str) -> list[dict[str, Any]]:
        return [
            row for row in published.read(self.root / "studies" / study / "published.csv") if row["exhibit"] == exhibit
        ]

    def _made(self, study: str, stage: str) -> dict[str, Any]:
        """What the report says of a stage: how much of it there is, and which code makes it."""
        found = self.bundles(study, stage).values()
        nodes = {node.id: node for bundle in found for node in bundle.nodes}
        seeds = self.study(study).seeds
        return {
            "study": study,
            "stage": stage,
            "bundles": len(found),
            "cells": len(nodes),
            "seeds": sum(len(seeds[identity]) for identity in nodes) if stage != "data" else 0,
            "code": sorted({stage_code(stage, node.methods)[:12] for node in nodes.values()}),
        }
