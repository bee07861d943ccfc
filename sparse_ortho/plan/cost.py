"""Nominal cost: from a table, never from measurements, so that it never changes what a bundle holds by itself.

    train:  seconds = epochs * (3 * images * FLOPs / rate + images / batch * step)
    mask:   seconds = 1 + 3 * images * FLOPs / rate,  summed over the rounds of its scores
    init:   seconds = 1 + steps * sum_l 4 * rows^2 * cols / rate,  if it descends by the Gram matrices of the layers

3 is forward, and backward at twice that; step grows with the number of layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sparse_ortho.plan import data_facts
from sparse_ortho.plan.fields import TRAIN
from sparse_ortho.plan.identity import Node
from sparse_ortho.plan.learned_words import trainings
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.plan.shapes import facts_of, layers, size_of
from sparse_ortho.registry import resolve, table

RATE = {"cpu": 2e10, "mps": 1e12, "cuda": 1e13}  # FLOP/s that small networks reach
STEP = {
    "cpu": 1e-3,
    "mps": 2e-3,
    "cuda": 1e-3,
}  # seconds of overhead a step of a network of LAYERS layers
LAYERS = 10  # or fewer; of more layers a step takes longer in proportion
UNKNOWN = 1e8  # FLOPs an image of a model that schemas/shapes.json does not hold
IMAGES = 50_000  # of a data set of the user's, whose size is not known before it is read: that of CIFAR
SCORED = 10  # images of each class that a score sees
OTHER = 1.0  # seconds a seed of a mask or an initialisation, and more if it computes a lot
BYTES = {"mask": 1, "init": 5, "ticket": 5, "train": 5}  # a process holds for each weight of a seed: float32, a mask


def seed_seconds(node: Node, device: str) -> float:
    """The nominal cost of one seed; all but training is done on the CPU."""
    if node.stage == "train":
        return _training(node, device)
    facts = facts_of(node.spec) if node.stage in ("mask", "init") else None
    if facts is None:
        return OTHER
    work = _scoring(node.spec, facts) if node.stage == "mask" else _descent(node.spec["init"], facts)
    return OTHER + work / RATE["cpu"]


def seed_bytes(node: Node) -> float:
    """What the process that makes a bundle holds of one seed until all are written."""
    facts = facts_of(node.spec) if node.stage in BYTES else None
    return BYTES[node.stage] * size_of(facts) if facts else 0.0


def _training(node: Node, device: str) -> float:
    options: dict[str, Any] = defaults(TRAIN) | dict(node.spec["train"])
    images = data_facts.facts_of({"name": node.data}).get("train") or IMAGES
    facts = facts_of(node.spec)
    flops, depth = (facts["flops"], len(layers(facts))) if facts else (UNKNOWN, LAYERS)
    step = STEP[device] * max(depth, LAYERS) / LAYERS
    epochs = options["epochs"] * trainings(node.spec.get("rule", {}))
    return epochs * (3 * images * flops / RATE[device] + images / options["batch_size"] * step)


def _scoring(spec: Mapping[str, Any], facts: Mapping[str, Any]) -> float:
    """FLOPs of the scores that choose a mask; one that reads no data sees one image a round."""
    images = 0
    for method in spec["mask"].values():
        if method["name"] in table("scores"):
            path = resolve("scores", method["name"])
            needs = literal_of(path, "NEEDS", ())
            once = SCORED * spec["classes"] if "data" in needs else int("weights" in needs)
            images += once * (defaults(path) | method).get("rounds", 1)
    return 3 * images * facts["flops"]


def _descent(init: Mapping[str, Any], facts: Mapping[str, Any]) -> float:
    """FLOPs of the Gram matrices, rows <= cols, that an initialisation with `steps` descends by: two products each.

    One that learns from data takes two batches forward and backward, twice in each of its `iters`.
    """
    path = resolve("inits", init["name"])
    options = defaults(path) | dict(init)
    steps = options.get("steps", 0)
    if "data" in literal_of(path, "NEEDS", ()):
        return options.get("iters", steps) * 4 * 3 * options.get("batch", 0) * facts["flops"]
    sides = ((shape[0], math.prod(shape[1:])) for shape in layers(facts))
    return steps * sum(4 * min(side) ** 2 * max(side) for side in sides)
