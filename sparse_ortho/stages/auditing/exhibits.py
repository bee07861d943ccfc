"""What the plan makes: nothing that was made is missing, and exhibits come out of their records again, byte for byte.

A job that was made by other code, options or versions than those of now is stale (`snakemake why` says of what), and
nothing can be said of its artifact but that it is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import read_json
from sparse_ortho.plan import job as jobs
from sparse_ortho.plan import paths, studies
from sparse_ortho.plan.layout import STAGES
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages.auditing.findings import Findings
from sparse_ortho.stages.exhibit import rendered
from sparse_ortho.stages.planning import planned_jobs
from sparse_ortho.stages.report import page_of

REPORT = "report"


def plans(plan: Plan) -> Iterator[Plan]:
    """The plan of the configuration, and one of every other study and scale that something was made of."""
    yield plan
    config, done = plan.config.model_dump(), {(name, plan.config.scale) for name in plan.config.studies}
    for path in sorted(Path(paths.PROVENANCE).glob("*/*.json")):
        study, scale = (path.stem.split("-") + [""])[:2]
        known = path.parent.name in (*STAGES[1:], "exhibit") and study in plan.names
        if known and (study, scale) not in done and scale in studies.read(study, plan.root)[0].scales:
            done.add((study, scale))
            yield Plan(config | {"studies": [study], "scale": scale}, plan.root)


def check_planned(plan: Plan, configured: bool, findings: Findings) -> None:
    """Everything that the plan makes and that was made at some time; the report only of the configured one."""
    for stage, name, text, outputs in planned_jobs(plan):
        if (stage == "data" or stage == REPORT) and not configured:
            continue
        place = Path(paths.provenance(stage, name))
        made = _job_of(place, findings) if place.is_file() else None
        there = [Path(path).is_file() for path in outputs]
        if made is None:
            for path in [path for path, found in zip(outputs, there, strict=True) if found and not place.is_file()]:
                findings.expect(False, path, f"nothing is known of how it was made ({place} is missing)")
            continue
        findings.checked["jobs"] += 1
        for path, found in zip(outputs, there, strict=True):
            findings.expect(found, path, f"is missing, and was made ({place})")
        if made != text:
            findings.skipped["jobs that are stale (snakemake why says of what)"] += 1
        elif all(there) and stage in ("exhibit", REPORT):
            _again(plan, stage, name, jobs.load(text), outputs, findings)


def check_unplanned(results: Path, made: set[str], findings: Findings) -> None:
    """Artifacts of jobs that no plan here has: of a study that is gone, or of other bundles."""
    for stage in STAGES:
        for path in sorted((results / paths.BUNDLED[stage]).glob(f"*.{paths.SUFFIX[stage]}")):
            if path.as_posix() not in made:
                findings.skipped["artifacts that no study plans (make gc lists them)"] += 1


def _job_of(place: Path, findings: Findings) -> str | None:
    try:
        return read_json(place)["job"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        findings.expect(False, place, f"is damaged ({error})")
        return None


def _again(plan: Plan, stage: str, name: str, job: jobs.Job, outputs: list[str], findings: Findings) -> None:
    """An exhibit, or the report, made again in memory."""
    findings.checked["exhibits and pages made again"] += 1
    try:
        made = {"html": page_of(job, Path(outputs[0]).parent)} if stage == REPORT else _exhibit(plan, name, job)
    except Exception as error:  # whatever a renderer says of records that were tampered with
        findings.expect(False, outputs[0], f"cannot be made again ({type(error).__name__}: {error})")
        return
    for path in outputs:
        content = made[path.rpartition(".")[2]]
        whole = content.encode() if isinstance(content, str) else content
        findings.expect(Path(path).read_bytes() == whole, path, "is not what comes out of its records")


def _exhibit(plan: Plan, name: str, job: jobs.Job) -> Mapping[str, Any]:
    study, _, exhibit = name.split("/")
    return rendered(job, plan.exhibit_inputs(study, exhibit))
