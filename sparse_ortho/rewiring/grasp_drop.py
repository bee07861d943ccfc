"""GraSP as a criterion for what leaves (Wang, Zhang, Grosse, ICLR 2020, arXiv 2002.07376; scores/grasp.py has it).

    the highest -w * H g leave: without these weights the gradient grows, or shrinks least

g and H g are those of a batch of training data drawn for the update, with the weights as they are then. A training of
the pipeline brings the batch; in a loop of one's own pass `data`: batches, or a function that returns some.
"""

from __future__ import annotations

from sparse_ortho.errors import UserError
from sparse_ortho.rewiring.drops import Counts, Layers, Marks, Memory
from sparse_ortho.rewiring.layer import finite
from sparse_ortho.scores.grasp import grasp as scored
from sparse_ortho.streams import Streams

READS = {"grasp": ("data",)}


def grasp(layers: Layers, counts: Counts, memory: Memory, *, temperature: float = 200.0) -> Marks:
    look = next(iter(layers.values())).probe
    if look is None:
        raise UserError("drop", "grasp reads data; pass data=[(x, y), ...], or a function that returns such a list")
    found = scored(look(), Streams(0), temperature=temperature)
    return {name: finite(found[name]) for name in layers}
