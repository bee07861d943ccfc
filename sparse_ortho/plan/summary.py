"""What a configuration amounts to: cells, seeds, jobs and nominal cost, study by study."""

from __future__ import annotations

from sparse_ortho.plan.layout import STAGES
from sparse_ortho.plan.workflow import Plan


def summary(plan: Plan) -> list[str]:
    """A table in plain text, and the sum."""
    lines = [f"{'study':16}{'stage':9}{'cells':>8}{'seeds':>8}{'jobs':>8}{'nominal':>12}"]
    jobs, seconds = 0, 0.0
    for study in plan.config.studies:
        scaled = plan.study(study)
        for stage in STAGES:
            bundles = plan.bundles(study, stage)
            nodes = {node.id for bundle in bundles.values() for node in bundle.nodes}
            seeds = sum(len(scaled.seeds[node]) for node in nodes) if stage != "data" else 0
            cost = sum(plan.seconds(bundle) for bundle in bundles.values())
            lines.append(f"{study:16}{stage:9}{len(nodes):8}{seeds or '':>8}{len(bundles):8}{duration(cost):>12}")
            jobs, seconds = jobs + len(bundles), seconds + cost
        lines.append(f"{study:16}{'exhibit':9}{'':8}{'':8}{len(scaled.exhibits):8}{'':>12}")
        jobs += len(scaled.exhibits)
    unit = {"cpu": "core", "cuda": "GPU", "mps": "GPU"}[plan.device]
    lines.append(
        f"scale {plan.config.scale} on {plan.device}: {jobs + 1} jobs, nominally {duration(seconds)} of one {unit}"
    )
    return lines


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
