"""A grid's `tune` block: every cell is trained with each value of some options, and a validation accuracy chooses.

    tune: {train.lr: [0.1, 0.03, 0.01]}   # several options: all their combinations
    by: validation_accuracy_last          # the column of the records whose mean over the seeds chooses

Every cell gets the same trials and the same seeds. A trial is a cell like any other, with an identity, records and a
place in the store of its own; which one an exhibit shows is decided when it is made (report/tuning.py). The protocol
is the project's own: papers tune, and seldom say how. `by` is by default the accuracy after the last epoch, because it
goes with test_accuracy_last, the default metric; a maximum over epochs would favour rates whose accuracy fluctuates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError
from sparse_ortho.plan import data_facts
from sparse_ortho.plan.config import Exhibit, Grid
from sparse_ortho.plan.fields import BUILD, canonical_or_refuse
from sparse_ortho.plan.grid import KEYS, laid_out_by, overlay, products
from sparse_ortho.plan.identity import Cell
from sparse_ortho.plan.options import defaults
from sparse_ortho.schedules import share

BY = {
    "validation_accuracy_last": "validation accuracy after the last epoch",
    "validation_accuracy_best": "validation accuracy, at the best epoch of each seed",
}
DEFAULT = "validation_accuracy_last"
TRAINED = ("records", "curves")  # what an exhibit must read for its cells to be trained
# what methods are compared at, and what no training reads: the same in every trial
NOT_TUNED = ("data", "density", "fixed_seeds", "measure")


def check(exhibit: Exhibit, grid: Grid, reads: str, where: str) -> None:
    """Refuse a `tune` block that could not be the same for every cell, or chosen on the validation part."""
    if not grid.tune:
        if grid.by is not None:
            raise UserError(f"{where}.by", "chooses among the trials of a `tune` block, and there is none")
        return
    if reads not in TRAINED:
        raise UserError(
            f"{where}.tune", f"nothing is trained for an exhibit of kind {exhibit.kind}, so nothing chooses"
        )
    if chosen_by(grid) not in BY:
        raise UserError(f"{where}.by", "must be of the validation part, never of test", found=grid.by, allowed=BY)
    for axis, values in grid.tune.items():
        _check_axis(axis, f"{where}.tune.{axis}")
        _check_values(values, f"{where}.tune.{axis}")
        if axis in laid_out_by(exhibit):
            raise UserError(f"{where}.tune.{axis}", "lays out the exhibit, which shows only one of its values a cell")
        for number, entry in enumerate(grid.cells):
            if any(_names(key, value, axis) for key, value in entry.items()):
                raise UserError(f"{where}.cells[{number}]", f"names {axis}, whose values stand under `tune` alone")
        if any(axis in pattern for pattern in grid.exclude):
            raise UserError(f"{where}.exclude", f"names {axis}, which is tuned: every cell has the same trials")


def trials(cells: Iterable[dict[str, Any]], grid: Grid, where: str) -> Iterator[dict[str, Any]]:
    """Each cell with every combination of the tuned values, in the order in which they are written."""
    if not grid.tune:
        yield from cells
        return
    for cell in cells:
        for choice in products(grid.tune, f"{where}.tune"):
            yield overlay(cell, choice, f"{where}.tune")


def check_trials(axes: Sequence[Mapping[str, Any]], cells: Iterable[Cell], grid: Grid, where: str) -> None:
    """The trials of each cell stand together, none is another cell's, and all have a validation part."""
    if not grid.tune:
        return
    wanted = list(products(grid.tune, where))
    found = [{axis: place[axis] for axis in grid.tune} for place in axes]
    if found != wanted * (len(found) // len(wanted)):
        raise UserError(f"{where}.tune", "two entries of `cells` share some of their trials; let one of them differ")
    for cell in cells:
        data = cell.nodes["data"].spec["data"]
        fraction = (defaults(BUILD) | data)["validation"]
        images = data_facts.facts_of(data).get("train")  # unknown for a folder of the user's
        if not fraction or (images is not None and share(fraction, images) == 0):
            problem = f"{data['name']} has no validation part here, so nothing can choose among the trials"
            raise UserError(f"{where}.tune", problem, found={"data.validation": fraction})


def of_job(grid: Grid) -> dict[str, Any]:
    """What the job of an exhibit says of its trials: nothing where there are none."""
    if not grid.tune:
        return {}
    facts = {"axes": list(grid.tune), "trials": _count(grid), "by": chosen_by(grid), "sentence": sentence(grid)}
    return {"tune": facts}


def sentence(grid: Grid) -> str:
    """How the shown cells were chosen, for whoever reads the exhibit; empty where nothing was."""
    if not grid.tune:
        return ""
    lists = " and ".join(f"{axis} among {', '.join(map(_word, values))}" for axis, values in grid.tune.items())
    return (
        f"Tuned: {lists}; every cell has the same {_count(grid)} trials with the same seeds, and shows the one with the"
        f" highest mean {BY[chosen_by(grid)]}."
    )


def chosen_by(grid: Grid) -> str:
    return DEFAULT if grid.by is None else grid.by


def _check_axis(axis: str, where: str) -> None:
    top, _, option = axis.partition(".")
    if top not in KEYS:
        raise UserError(where, "unknown axis", found=axis, allowed=KEYS)
    if top in NOT_TUNED:
        allowed = [f"options of {key}" for key in KEYS if key not in NOT_TUNED]
        raise UserError(where, "is no axis to tune", found=axis, allowed=allowed)
    if option in ("", "name"):
        raise UserError(where, "must be an option, such as train.lr: methods are compared, not tuned", found=axis)


def _check_values(values: Sequence[Any], where: str) -> None:
    if len(values) < 2:
        raise UserError(where, "needs two values or more, or there is nothing to choose", found=list(values))
    seen: set[str] = set()
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        text = canonical_or_refuse(float(value) if number else value, where)
        if text in seen:
            raise UserError(where, "holds a value twice", found=value)
        seen.add(text)


def _names(key: str, value: Any, axis: str) -> bool:
    """Whether an entry of `cells` sets the option itself, by its dotted key or inside a mapping."""
    top, _, option = axis.partition(".")
    choices = value if isinstance(value, list) else [value]
    return key == axis or (key == top and any(isinstance(choice, dict) and option in choice for choice in choices))


def _count(grid: Grid) -> int:
    return math.prod(len(values) for values in grid.tune.values())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)
