"""Nominal cost: from a table, never from measurements, so that it never changes what a bundle holds by itself.

seconds = epochs * (3 * images * FLOPs / rate + images / batch * step)      3: forward, and backward at twice that
"""

from __future__ import annotations

from typing import Any

from sparse_ortho.plan import data_facts
from sparse_ortho.plan.fields import TRAIN
from sparse_ortho.plan.identity import Node
from sparse_ortho.plan.options import defaults
from sparse_ortho.plan.shapes import facts_of

RATE = {"cpu": 2e10, "mps": 1e12, "cuda": 1e13}  # FLOP/s that small networks reach
STEP = {"cpu": 1e-3, "mps": 2e-3, "cuda": 1e-3}  # seconds of overhead a step
UNKNOWN = 1e8  # FLOPs an image of a model that schemas/shapes.json does not hold
IMAGES = 50_000  # of a data set of the user's, whose size is not known before it is read: that of CIFAR
OTHER = 1.0  # seconds a seed of a mask or an initialisation


def seed_seconds(node: Node, device: str) -> float:
    """The nominal cost of one seed."""
    if node.stage != "train":
        return OTHER
    options: dict[str, Any] = defaults(TRAIN) | dict(node.spec["train"])
    images = data_facts.facts_of({"name": node.data}).get("train") or IMAGES
    facts = facts_of(node.spec)
    flops = facts["flops"] if facts else UNKNOWN
    return options["epochs"] * (3 * images * flops / RATE[device] + images / options["batch_size"] * STEP[device])
