"""How much memory a job asks of a scheduler: from the sizes of what it holds, never from a measurement.

    MB = 1200 + 2 * pictures + 32 bytes * weights of the largest network + results that wait to be written

1200 is Python with torch and its libraries (a training of LeNet-300-100 on MNIST takes 1150 in all). A weight comes
with gradient, momentum, mask and the copies of a checkpoint or of scores in float64. Pictures are as decoded, twice
while they are read. What a batch needs inside a network is not counted: on a GPU it is not the machine's, and who runs
out of memory asks for twice as much (`attempt`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.plan import cost, data_facts
from sparse_ortho.plan.identity import Node
from sparse_ortho.plan.shapes import facts_of, size_of

LEAST, START, STEP = 2000, 1200, 500  # MB: what anything gets, what torch takes, rounded up to
WEIGHT = 32  # bytes
STREAMED = 8e9  # bytes of decoded pictures above which a data set is streamed
UNKNOWN = 25_000_000  # weights of a network that schemas/shapes.json does not hold: those of ResNet-50


def megabytes(nodes: Iterable[tuple[Node, Sequence[int]]]) -> int:
    """For one process that makes these nodes, each with its seeds."""
    pictures = weights = held = 0.0
    for node, seeds in nodes:
        if "data" in node.inputs:
            pictures = max(pictures, _pictures(node.data, node.spec))
        facts = facts_of(node.spec) if "model" in node.spec else None
        weights = max(weights, size_of(facts) if facts else UNKNOWN)
        held += cost.seed_bytes(node) * len(seeds)
    wanted = START + (2 * pictures + WEIGHT * weights + held) / 1e6
    return max(LEAST, STEP * math.ceil(wanted / STEP))


def _pictures(name: str, spec: Mapping[str, Any]) -> float:
    """Bytes of a data set as it is decoded, a byte a value; none of it if it does not fit and is streamed."""
    stated = data_facts.facts_of({"name": name})
    images = (stated.get("train") or cost.IMAGES) + (stated.get("test") or 0)
    decoded = float(images * math.prod(spec.get("shape") or stated["shape"]))
    return decoded if decoded <= STREAMED else 0.0
