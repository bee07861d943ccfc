"""Which cells one process makes.

Cells of one study, scale, stage, data set and model are split by the leading bits of their identity: a bundle that
holds more than `size` cells is split by one more bit. So a new cell touches only the bundle that it falls into, and
the name of a bundle says what it holds. Expensive cells (nominal cost, never measured) stand alone, very expensive
ones seed by seed. A bundle is split too when one process could not hold it, and so is a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sparse_ortho.plan.identity import Node

BITS = 48  # of the 12 hex digits of an identity


@dataclass(frozen=True)
class Bundle:
    stage: str
    name: str
    nodes: tuple[Node, ...]
    seeds: tuple[int, ...] | None = None  # only these seeds of its one cell; None: all

    def seeds_of(self, planned: Iterable[int]) -> list[int]:
        return sorted(seed for seed in planned if self.seeds is None or seed in self.seeds)


def pack(
    stage: str,
    prefix: str,
    nodes: Iterable[Node],
    size: int,
    seeds: Callable[[Node], Iterable[int]],
    seconds: Callable[[Node], float],
    split: float,
    load: Callable[[Node], float] = lambda node: 0.0,
    apart: Callable[[Node], str] = lambda node: "",
    fits: Callable[[list[Node]], bool] = lambda nodes: True,
) -> Iterator[Bundle]:
    """All bundles of one stage of one study and scale; `seconds` is the nominal cost of one seed of a node.

    `load` is the part that all seeds of a node take of what one process may hold. Nodes of which `apart` says different
    words never share a bundle: the levels of a ladder, each of which reads the one below, and forms of a data set. What
    does not `fit` one job is split as well.
    """
    groups: dict[tuple[str, str, str], list[Node]] = {}
    for node in nodes:
        planned = sorted(seeds(node))
        if seconds(node) > split or load(node) > 1:
            for seed in planned:
                yield Bundle(stage, f"{prefix}-{node.data}-{node.model}-{node.id[-12:]}-s{seed}", (node,), (seed,))
        elif seconds(node) * len(planned) > split:
            yield Bundle(stage, f"{prefix}-{node.data}-{node.model}-{node.id[-12:]}", (node,))
        else:
            groups.setdefault((node.data, node.model, apart(node)), []).append(node)
    for (data, model, word), members in groups.items():
        for bits, part in _split(sorted(members, key=lambda node: node.id[-12:]), size, load, fits):
            yield Bundle(stage, f"{prefix}-{data}-{model}-{word}{bits or 'all'}", tuple(part))


def forms(data: Iterable[Node]) -> dict[str, str]:
    """A word for each data set with options of its own, standardised or split in another way: a process reads one."""
    return {node.id: f"d{node.id[-6:]}" for node in data if set(node.spec["data"]) > {"name"}}


def _split(
    nodes: list[Node],
    size: int,
    load: Callable[[Node], float],
    fits: Callable[[list[Node]], bool],
    depth: int = 0,
    bits: str = "",
) -> Iterator[tuple[str, list[Node]]]:
    if (len(nodes) <= size and sum(map(load, nodes)) <= 1 and fits(nodes)) or depth == BITS:
        yield bits and f"b{bits}", nodes
        return
    halves: dict[str, list[Node]] = {"0": [], "1": []}
    for node in nodes:
        halves[str(int(node.id[-12:], 16) >> (BITS - 1 - depth) & 1)].append(node)
    for bit, part in halves.items():
        if part:
            yield from _split(part, size, load, fits, depth + 1, bits + bit)
