"""The trainings that a job of another stage carries along: whose networks it measures, or prunes.

They are a job of stage `train` inside of its text, so that the same key finds them in the store, or makes them again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.plan import job
from sparse_ortho.plan.digest import stage_code
from sparse_ortho.plan.identity import Node

ROLES = ("train", "early")  # a network at the end of its training, and after some of its steps


def carried(
    bundle: str,
    env: Mapping[str, str],
    nodes: Iterable[Node],
    known: Iterable[Node],
    seeds: Callable[[Node], Iterable[int]],
) -> dict[str, Any]:
    """{"train": job} of the trainings, among those that are known, which the nodes name; {} where they name none."""
    wanted = {identity for node in nodes for role, identity in node.inputs.items() if role in ROLES}
    tasks = [task_of(node, sorted(seeds(node))) for node in known if node.id in wanted]
    return {"train": json.loads(job.dump(job.Job("train", bundle, env, tasks)))} if tasks else {}


def task_of(node: Node, seeds: Sequence[int]) -> job.Task:
    return job.Task(node.id, node.spec, seeds, stage_code(node.stage, node.methods), sorted(node.methods))
