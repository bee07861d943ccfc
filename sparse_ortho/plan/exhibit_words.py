"""What an exhibit asks of its cells, checked before any job: axes, metrics, and what its kind can draw.

A renderer refuses the same mistakes, but only once everything that it reads was trained. A kind that draws one
measurement or bench alone says so beside its renderer, SHOWS = {"name": "landscape", "dimensions": 2}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.config import Exhibit, Grid
from sparse_ortho.plan.fields import TRAIN
from sparse_ortho.plan.grid import laid_out_by
from sparse_ortho.plan.identity import Cell, Node
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.plan.structure_words import BESIDE
from sparse_ortho.plan.ticket_options import options as ticket_options
from sparse_ortho.registry import resolve, table

COLUMNS = "sparse_ortho.training.columns:"
OUTSIDE = ("cell", "seed", "status", "reason")  # columns that are no results
OF_A_BENCH = ("bench", "fixed_seeds", "seeds")  # all that the cell of a bench without a network says
READ = {"benches": "bench", "measures": "measure"}  # what a renderer is handed -> the key of a cell that says which
MEASURED = "measured_density"  # an x that only a finished training can tell


def check_entries(exhibit: Exhibit, grid: Grid, handed: str, where: str) -> None:
    """What an entry says of a measurement or bench that this kind would not show, or of a network that no bench has."""
    for number, entry in enumerate(grid.cells):
        place = f"{where}.cells[{number}]"
        tops = dict.fromkeys(key.partition(".")[0] for key in entry)
        for reads, key in READ.items():
            if key in tops and reads != handed:
                shown = [kind for kind in table("exhibits") if _reads(kind) == reads]
                raise UserError(
                    f"{place}.{key}", f"kind {exhibit.kind} shows none", found=entry.get(key), allowed=shown
                )
        bench = entry.get("bench")
        name = bench.get("name") if isinstance(bench, dict) else bench
        if name in table("benches") and not literal_of(resolve("benches", name), "NEEDS", ()):
            for top in tops:
                if top not in OF_A_BENCH:
                    raise UserError(f"{place}.{top}", f"the bench {name} has no network", found=top, allowed=OF_A_BENCH)


def node_of(cell: Cell, stage: str, exhibit: Exhibit, where: str) -> Node:
    """What the exhibit reads of a cell: a bench has no training, a network no bench."""
    if stage in cell.nodes:
        shown = literal_of(resolve("exhibits", exhibit.kind), "SHOWS", {})
        _check_shown(cell.nodes[stage], shown, exhibit.kind, where)
        return cell.nodes[stage]
    if stage == "bench":
        raise UserError(f"{where}.bench", f"is required by kind {exhibit.kind}", allowed=table("benches"))
    kinds = [kind for kind in table("exhibits") if _reads(kind) == "benches"]
    problem = "a bench trains no network; its times are shown by other kinds"
    raise UserError(f"{where}: kind", problem, found=exhibit.kind, allowed=kinds)


def _check_shown(node: Node, shown: Mapping[str, Any], kind: str, where: str) -> None:
    told = node.spec.get(node.stage, {})
    for option, wanted in shown.items():
        path = resolve(f"{node.stage}s" if node.stage == "measure" else "benches", told["name"])
        found = told.get(option, defaults(path).get(option))
        if found != wanted:
            raise UserError(f"{where}.{node.stage}.{option}", f"kind {kind} needs another", found=found,
                            allowed=str(wanted))  # fmt: skip


def check_words(exhibit: Exhibit, handed: str, raws: Iterable[Mapping[str, Any]], where: str) -> None:
    """Metrics and axes that are none."""
    records, curves = (literal_of(COLUMNS, name, {}) for name in ("RECORD_COLUMNS", "CURVE_COLUMNS"))
    asked: list[tuple[str, str, Mapping[str, Any]]] = []
    if exhibit.kind in ("table", "factorial", "methods"):
        asked = [("metric", exhibit.metric, records)]
    elif exhibit.kind in ("outcomes", "side_by_side"):
        asked = [("quantities", name, records) for name in exhibit.quantities]
    elif exhibit.kind == "curves":
        asked = [(key, getattr(exhibit, key), curves) for key in ("x", "y")]
    for key, name, known in asked:
        if name not in known or name in OUTSIDE:
            raise UserError(f"{where}: {key}", "unknown", found=name, allowed=[k for k in known if k not in OUTSIDE])
    cells = list(raws)
    for axis in laid_out_by(exhibit):
        top, _, option = axis.partition(".")
        if option and axis != MEASURED and not any(_says(raw.get(top), option) for raw in cells):
            known = sorted({name for raw in cells for name in options_of(top, raw.get(top))})
            if option not in known:
                raise UserError(f"{where}: {axis}", "no cell has this option", found=option, allowed=known)


def _says(value: Any, option: str) -> bool:
    return isinstance(value, dict) and (option in value or option == "name")


KINDS = {"bench": "benches", "data": "datasets", "init": "inits", "measure": "measures", "model": "models"}
KINDS |= {"rule": "rules", "score_init": "inits"}


def options_of(top: str, value: Any) -> Sequence[str]:
    """The options that a key of a cell could have been told, besides those that it was."""
    if top == "train":
        return list(defaults(TRAIN))
    if top == "ticket":
        return ticket_options()
    if top == "mask":
        return ["score", "layers", *BESIDE]
    if top == "tricks":
        inner = {name: defaults(path) for name, path in ((n, resolve("tricks", n)) for n in table("tricks"))}
        return [*inner, *(f"{name}.{option}" for name, options in inner.items() for option in options)]
    name = value.get("name") if isinstance(value, dict) else value
    return list(defaults(resolve(KINDS[top], name))) if top in KINDS and name in table(KINDS[top]) else []


def _reads(kind: str) -> str:
    return literal_of(resolve("exhibits", kind), "READS", "records")
