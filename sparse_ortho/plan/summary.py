"""What a configuration amounts to: cells, seeds, jobs and nominal cost, study by study."""

from __future__ import annotations

from sparse_ortho.plan.cost import OTHER
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
            cost = spent(plan, study, stage)
            lines.append(f"{study:16}{stage:9}{len(nodes):8}{seeds or '':>8}{len(bundles):8}{duration(cost):>12}")
            jobs, seconds = jobs + len(bundles), seconds + cost
        lines.append(f"{study:16}{'exhibit':9}{'':8}{'':8}{len(scaled.exhibits):8}{'':>12}")
        jobs += len(scaled.exhibits)
    unit = {"cpu": "core", "cuda": "GPU", "mps": "GPU"}[plan.device]
    lines.append(
        f"scale {plan.config.scale} on {plan.device}: {jobs + 1} jobs, nominally {duration(seconds)} of one {unit}"
    )
    return lines


def spent(plan: Plan, study: str, stage: str) -> float:
    """The nominal cost of a stage. Each training of a ladder is counted once, at its ladder: the records are served."""
    scaled = plan.study(study)
    laddered = {node.inputs.get("train") for node in scaled.nodes("ticket")}
    own = sum(plan.seconds(bundle) for bundle in plan.bundles(study, stage).values())
    if stage not in ("ticket", "train"):
        return own
    trained = [node for node in scaled.nodes("train") if node.id in laddered]
    shared = sum(plan.seed_seconds(node) * len(scaled.seeds[node.id]) for node in trained)
    pruned = OTHER * sum(len(scaled.seeds[node.id]) for node in scaled.nodes("ticket"))
    return pruned + shared if stage == "ticket" else own - shared


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
