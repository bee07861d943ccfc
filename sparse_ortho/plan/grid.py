"""From an exhibit's lists to raw cells: products, exclusions, and the axes that a table or figure is laid out by."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.plan.config import Block, Exhibit, Grid
from sparse_ortho.plan.ticket_words import ticket_axis
from sparse_ortho.plan.trick_axis import trick_axis

KEYS = (
    *("bench", "data", "density", "fixed_seeds", "init", "mask", "measure", "model", "rule", "score_init", "ticket"),
    *("train", "tricks"),
)
AXES = ("data", "model", "mask", "init", "density")


def raw_cells(block: Block, grid: Grid, where: str) -> Iterator[dict[str, Any]]:
    """Every cell of a grid: the block's cell overlaid with one choice from each list; it may have its own `seeds`."""
    for number, entry in enumerate(grid.cells):
        place = f"{where}.cells[{number}]"
        own = own_seeds(entry, grid, place)
        for choice in products({key: value for key, value in entry.items() if key != "seeds"}, place):
            cell = overlay(block.cell, choice, place)
            if not any(_matches(cell, pattern, where) for pattern in grid.exclude):
                yield cell | own


def own_seeds(entry: Mapping[str, Any], grid: Grid, where: str) -> dict[str, list[int]]:
    """{"seeds": those that an entry of `cells` has instead of the exhibit's}, or nothing."""
    if "seeds" not in entry:
        return {}
    seeds = entry["seeds"]
    if grid.tune:
        raise UserError(f"{where}.seeds", "all cells that are tuned have the same seeds", found=seeds)
    if not isinstance(seeds, list) or not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
        raise UserError(f"{where}.seeds", "must be a list of whole numbers from 0", found=seeds)
    return {"seeds": seeds}


def products(entry: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """All combinations of the entry's lists; a value that is no list stands for itself."""
    for key, value in entry.items():
        if isinstance(value, list) and not value:
            raise UserError(f"{where}.{key}", "is an empty list, so it names no cell")
    lists = [value if isinstance(value, list) else [value] for value in entry.values()]
    for values in itertools.product(*lists):
        yield dict(zip(entry, values, strict=True))


def overlay(base: Mapping[str, Any], over: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`base` with the keys of `over`: options are merged, a name alone keeps the options only of the same name."""
    cell = {key: copy.deepcopy(value) for key, value in base.items()}
    for key, value in sorted(over.items(), key=lambda item: "." in item[0]):  # a name first, then its options
        top, _, option = key.partition(".")
        if option:
            cell[top] = named(cell.get(top) or {}, f"{where}.{top}") | {option: value}
        else:
            cell[top] = _laid_over(cell.get(top), copy.deepcopy(value), names=top != "mask")
    for key in cell:
        if key not in KEYS:
            raise UserError(f"{where}.{key}", "unknown key", found=key, allowed=KEYS)
    return cell


def _laid_over(base: Any, over: Any, names: bool) -> Any:
    """Options of the method that `base` names are added to it; another method, or plain value, takes its place.

    `names`: whether a word alone is short for {name: word}; a mask's word is short for a score and layers.
    """
    if isinstance(base, str) and isinstance(over, dict) and names:
        base = {"name": base}
    if not isinstance(base, dict):
        return over
    if isinstance(over, str):
        return base if base.get("name") == over else over
    same = isinstance(over, dict) and over.get("name") in (None, base.get("name"))
    return base | over if same else over


def named(value: Any, where: str) -> dict[str, Any]:
    """A method as {name: ..., options}: a plain string is a name without options."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict):
        return dict(value)
    raise UserError(where, "must be a name, or a mapping of options with `name`", found=value)


def axes_of(cell: Mapping[str, Any], exhibit: Exhibit, where: str, more: Iterable[str] = ()) -> dict[str, Any]:
    """The coordinates of a cell in its exhibit, in the words of whoever wrote it; `more` are axes besides."""
    wanted = dict.fromkeys([*AXES, *laid_out_by(exhibit), *more])
    return {axis: axis_value(cell, axis, where) for axis in wanted}


def laid_out_by(exhibit: Exhibit) -> list[str]:
    """The axes that an exhibit puts its cells by."""
    found = [*exhibit.rows, *exhibit.columns, *exhibit.panels, *filter(None, (exhibit.hue, exhibit.dash))]
    own = exhibit.x == "measured_density"  # what a training has kept, which no cell can say
    found += ["ticket.density"] if exhibit.kind == "methods" else []  # of a network without tickets its own
    placed = exhibit.kind in ("lines", "outcomes", "timing", "widths") and not own
    return found + ([exhibit.x] if placed else [])  # other kinds have an x of their own, such as epoch


def axis_value(cell: Mapping[str, Any], axis: str, where: str) -> Any:
    top, _, option = axis.partition(".")
    if top not in KEYS:
        raise UserError(where, "unknown axis", found=axis, allowed=KEYS)
    value = cell.get(top)
    if top == "tricks":
        return trick_axis(value, option)
    if top == "ticket":
        return ticket_axis(value, option, cell.get("density"))
    if option:
        value = value.get(option) if isinstance(value, dict) else None
    elif isinstance(value, dict):
        value = mask_label(value) if axis == "mask" else value.get("name") or "+".join(map(str, value.values()))
    if axis == "density" and (value is None or isinstance(value, int | float)):
        return 1.0 if value is None else float(value)
    return {"mask": "dense", "rule": "static"}.get(axis) if value is None else value


def mask_label(mask: Mapping[str, Any]) -> str:
    """All that a mask says, by name: magnitude+erk, snip+kernel; of a file its path."""
    parts = [part.get("name", part) if isinstance(part, dict) else part for part in mask.values()]
    return "+".join(str(part) for part in parts if not isinstance(part, bool))


def _matches(cell: Mapping[str, Any], pattern: Mapping[str, Any], where: str) -> bool:
    found = {axis: axis_value(cell, axis, f"{where}.exclude") for axis in pattern}  # every axis is checked
    return found == dict(pattern)
