"""A study at one scale: its exhibits, their cells, and the seeds of every cell.

The seeds of a cell are the union over all exhibits of its study at that scale, whatever the target, so a record never
depends on what was asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError
from sparse_ortho.plan import tuning
from sparse_ortho.plan.baselines import check_baseline
from sparse_ortho.plan.collapses import KIND, check_collapse
from sparse_ortho.plan.config import Block, Exhibit, Grid, Study, parse, read_yaml
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.plan.exhibit_words import check_entries, check_words, node_of
from sparse_ortho.plan.factors import check_factors
from sparse_ortho.plan.grid import axes_of, raw_cells
from sparse_ortho.plan.identity import Cell, Node, resolve_cell
from sparse_ortho.plan.measures import refuse_single_seed
from sparse_ortho.plan.options import literal_of
from sparse_ortho.plan.protocol import check_protocol
from sparse_ortho.plan.shapes import refuse_unreachable
from sparse_ortho.registry import resolve

LAST_STAGE = {
    **{"records": "train", "curves": "train", "runs": "train"},
    **{"inits": "init", "layers": "init", "masks": "init"},
    **{"measures": "measure", "benches": "bench"},
}


@dataclass(frozen=True)
class Shown:
    """A cell as one exhibit shows it."""

    id: str
    axes: Mapping[str, Any]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class ScaledStudy:
    name: str
    study: Study
    exhibits: Mapping[str, tuple[Exhibit, Grid, tuple[Shown, ...]]]
    cells: Mapping[str, Cell]
    seeds: Mapping[str, frozenset[int]]  # of every node

    def nodes(self, stage: str) -> list[Node]:
        """The distinct nodes of a stage that some exhibit needs, in the order of their identities."""
        every = (node for cell in self.cells.values() for node in cell.every())
        found = {node.id: node for node in every if node.stage == stage and node.id in self.seeds}
        return [found[identity] for identity in sorted(found)]


def reads(exhibit: Exhibit) -> str:
    """What the renderer of an exhibit is handed."""
    return literal_of(resolve("exhibits", exhibit.kind), "READS", "records")


def last_stage(exhibit: Exhibit) -> str:
    """The stage whose artifacts an exhibit reads; nothing after it is made for its sake."""
    return LAST_STAGE[reads(exhibit)]


def names(root: Path = ROOT) -> list[str]:
    """The studies there are: folders with a study.yaml."""
    return sorted(path.parent.name for path in (root / "studies").glob("*/study.yaml"))


def read(name: str, root: Path = ROOT) -> tuple[Study, dict[str, Exhibit]]:
    """A study and its exhibits as written, whatever the scale."""
    folder = root / "studies" / name
    if name not in names(root):
        raise UserError("config.yaml: studies", "unknown study", found=name, allowed=names(root))
    where = f"studies/{name}"
    study = parse(Study, read_yaml(folder / "study.yaml"), f"{where}/study.yaml")
    files = sorted(path for path in folder.glob("*.yaml") if path.name != "study.yaml")
    exhibits = {path.stem: parse(Exhibit, read_yaml(path), f"{where}/{path.name}") for path in files}
    for key, exhibit in exhibits.items():
        resolve("exhibits", exhibit.kind, f"{where}/{key}.yaml: kind")
        for scale in exhibit.scales:
            if scale not in study.scales:
                raise UserError(f"{where}/{key}.yaml: scales", "unknown scale", found=scale, allowed=study.scales)
    return study, dict(sorted(exhibits.items(), key=lambda item: (item[1].order, item[0])))


def at_scale(name: str, scale: str, root: Path = ROOT) -> ScaledStudy:
    """The cells and seeds of a study at a scale; any mistake in its files ends here, before a job starts."""
    study, exhibits = read(name, root)
    if scale not in study.scales:
        raise UserError("config.yaml: scale", f"the study {name} has no such scale", found=scale, allowed=study.scales)
    cells: dict[str, Cell] = {}
    seeds: dict[str, frozenset[int]] = {}
    shown: dict[str, tuple[Exhibit, Grid, tuple[Shown, ...]]] = {}
    for key, exhibit in exhibits.items():
        grid = exhibit.scales.get(scale)
        if grid is None:
            continue
        views = _views(f"studies/{name}/{key}.yaml: scales.{scale}", study.scales[scale], exhibit, grid, cells)
        shown[key] = (exhibit, grid, views)
        for view in views:
            for node in cells[view.id].needed(last_stage(exhibit)):
                seeds[node.id] = seeds.get(node.id, frozenset()) | set(view.seeds)
    for node in (cell.nodes["measure"] for cell in cells.values() if "measure" in cell.nodes):
        refuse_single_seed(node.spec, len(seeds.get(node.id, (0, 1))), f"studies/{name} at scale {scale}")
    return ScaledStudy(name, study, shown, cells, seeds)


def _views(where: str, block: Block, exhibit: Exhibit, grid: Grid, cells: dict[str, Cell]) -> tuple[Shown, ...]:
    seeds = tuple(sorted(set(grid.seeds or block.seeds)))
    """What the exhibit shows, each by the node that it reads, so that two may measure one network differently."""
    views: dict[str, Shown] = {}
    stage, raws = last_stage(exhibit), list[Mapping[str, Any]]()
    check_entries(exhibit, grid, reads(exhibit), where)
    tuning.check(exhibit, grid, reads(exhibit), where)
    for raw in tuning.trials(raw_cells(block, grid, where), grid, where):
        own = tuple(sorted(set(raw.pop("seeds", seeds))))
        cell = _resolved(canonical(raw), where) if _plain(raw) else resolve_cell(raw, where)
        node = node_of(cell, stage, exhibit, where)
        raws.append(raw)
        if cells.setdefault(node.id, cell).nodes[stage] != node:
            raise UserError(where, f"two cells share the identity {node.id}; give one of them another option")
        axes = axes_of(raw, exhibit, where, grid.tune)
        if views.setdefault(node.id, Shown(node.id, axes, own)).axes != axes:
            raise UserError(where, f"the same cell is named twice: {views[node.id].axes} and {axes}")
    check_words(exhibit, reads(exhibit), raws, where)
    check_factors(exhibit, grid, [view.axes for view in views.values()], where)
    check_protocol(exhibit, grid, raws, [view.seeds for view in views.values()], where)
    check_baseline(exhibit, [view.axes for view in views.values()], where)
    if exhibit.kind == KIND:
        check_collapse(exhibit, (cells[key].nodes["measure"].spec["measure"]["name"] for key in views), where)
    tuning.check_trials([view.axes for view in views.values()], (cells[key] for key in views), grid, where)
    return tuple(views.values())


@functools.cache
def _resolved(text: str, where: str) -> Cell:
    import json

    cell = resolve_cell(json.loads(text), where)
    refuse_unreachable(cell, where)
    return cell


def _plain(raw: Mapping[str, Any]) -> bool:
    try:
        canonical(raw)
    except (TypeError, ValueError):
        return False
    return True
