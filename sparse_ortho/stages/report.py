"""Stage `report`: results/report.html from the finished exhibits, and the page of how they came about."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import read_json, write_text
from sparse_ortho.plan import paths
from sparse_ortho.plan.job import Job
from sparse_ortho.report import page
from sparse_ortho.stages.bundle import Context

HOW = f"{paths.PROVENANCE}/index.html"


def main(job: Job, context: Context, output: str) -> None:
    write_text(output, page_of(job, Path(output).parent))
    write_text(HOW, page.provenance([read_json(path) for path in sorted(Path(paths.PROVENANCE).glob("*/*.json"))]))
    context.say(f"report: {output}")


def page_of(job: Job, folder: Path) -> str:
    """The page as it lies in `folder`, from the exhibits as they are."""
    studies = [study | {"exhibits": [filled(e, folder) for e in study["exhibits"]]} for study in job.more["studies"]]
    provenance = {"env": job.more["env"], "stages": job.more["stages"], "how": os.path.relpath(HOW, folder)}
    shown = {"title": "sparse-ortho", "scale": job.more["scale"], "studies": studies, "provenance": provenance}
    return page.render(shown)


def filled(exhibit: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An exhibit with its rendered body and links relative to the page."""
    files = {path.rpartition(".")[2]: path for path in exhibit["files"]}
    body = {kind: Path(files[kind]).read_text() if kind in files else None for kind in ("html", "svg")}
    return exhibit | body | {"files": {kind: os.path.relpath(path, folder) for kind, path in files.items()}}
