"""Which trial of a tuned cell is shown, and how an exhibit tells of the others.

chosen = the trial with the most finished seeds; of these the one with the highest mean of `by` over its seeds; of equal
ones the one named first. So a trial that diverged for a seed loses against every complete one. The figure or table
itself is drawn from the chosen trials alone, which therefore are in one place where the same cell is; its csv lists
every trial, and a table is followed by a second one with the validation accuracy of each.

Not from a paper: that rounding does not choose (means are compared to nine decimals), and the note on rates at an end.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparse_ortho.errors import UserError
from sparse_ortho.report.collect import Row, Runs, by_cell
from sparse_ortho.report.text import csv_text, show

DECIMALS = 9  # equal counts of images, added in another order, differ in the fourteenth digit; two counts by 1e-4 %
RULES = (
    "A trial with unfinished seeds loses against one with more finished ones; of equal trials the one named first is"
    " taken. The choice sees the validation part alone. The seeds that choose are those that are shown, so an interval"
    " says nothing of the choice."
)

Cell = Mapping[str, Any]
Files = dict[str, Any]  # suffix -> content
Draw = Callable[[Mapping[str, Any], Sequence[Cell]], Files]


@dataclass(frozen=True)
class Group:
    """The trials of one cell in the order in which they are named, and the place of the chosen one."""

    cells: tuple[Cell, ...]
    runs: tuple[Runs, ...]
    chosen: int


def chosen(trials: Sequence[Runs], by: str) -> int:
    """The place of the trial that is shown."""

    def merit(place: int) -> tuple[int, float]:
        values = trials[place].values(by)
        return len(values), round(_mean(values), DECIMALS) if values else -math.inf

    return max(range(len(trials)), key=merit)  # max keeps the first of equals


def render(draw: Draw, exhibit: Mapping[str, Any], cells: Sequence[Cell], records: Iterable[Row]) -> Files:
    """The files of a tuned exhibit; `draw` makes those of given cells."""
    tune, names = exhibit["tune"], exhibit["tune"]["axes"]
    groups = _groups(exhibit, cells, by_cell(cells, records))
    footnotes = [*(exhibit.get("footnotes") or ()), tune["sentence"], RULES, *_at_an_end(groups, tune)]
    shown = [_untuned(group.cells[group.chosen], names) for group in groups]
    files = draw({**exhibit, "footnotes": footnotes}, shown)
    alone = {**exhibit, "published": False}  # published values stand beside what is shown, once
    others = [draw(alone, [_untuned(g.cells[i], names) for g in groups])["csv"] for i in range(tune["trials"])]
    listed = {**files, "csv": _listed(files["csv"], others, groups, tune)}
    return listed | (_followed(listed, draw(_second(exhibit, groups), cells)) if exhibit["kind"] == "table" else {})


def _groups(exhibit: Mapping[str, Any], cells: Sequence[Cell], runs: Sequence[Runs]) -> list[Group]:
    by, size = exhibit["tune"]["by"], exhibit["tune"]["trials"]
    for run in runs:
        for row in run.rows.values():
            if row["status"] == "ok" and row.get(by) is None:
                raise UserError(f"exhibit {exhibit['name']}, tune", f"{run.cell} has no {by}, so nothing can choose")
    starts = range(0, len(cells), size)
    found = [(tuple(cells[i : i + size]), tuple(runs[i : i + size])) for i in starts]
    return [Group(trials, trial_runs, chosen(trial_runs, by)) for trials, trial_runs in found]


def _untuned(cell: Cell, names: Sequence[str]) -> Cell:
    """Two trials are one place: a message that tells cells apart must not offer the tuned axis."""
    return {**cell, "axes": {axis: value for axis, value in cell["axes"].items() if axis not in names}}


def _at_an_end(groups: Sequence[Group], tune: Mapping[str, Any]) -> Iterator[str]:
    """A note on values that were chosen although, or because, the list ends there."""
    groups = [group for group in groups if group.runs[group.chosen].values(tune["by"])]
    for axis in tune["axes"]:
        values = {cell["axes"][axis] for group in groups for cell in group.cells if _is_number(cell["axes"][axis])}
        taken = [group.cells[group.chosen]["axes"][axis] for group in groups]
        ends = sum(value in (min(values), max(values)) for value in taken) if len(values) > 2 else 0
        if ends:
            yield f"At an end of the list, beyond which a better value may lie: {axis} in {ends} of {len(taken)} cells."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _second(exhibit: Mapping[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
    """The exhibit that shows the trials of a table: a row a place, a column a trial."""
    tune = exhibit["tune"]
    return {
        **exhibit,
        "name": f"{exhibit['name']}-trials",
        "title": f"Trials of: {exhibit['title']}",
        "caption": f"Every trial of {', '.join(tune['axes'])}; the table before it shows those in bold.",
        "rows": [*exhibit["rows"], *exhibit["columns"]],
        "columns": tune["axes"],
        "metric": tune["by"],
        "published": False,
        "footnotes": [],
        "chosen": [group.cells[group.chosen]["id"] for group in groups],
    }


def _followed(files: Files, second: Files) -> Files:
    return {suffix: f"{files[suffix]}\n{second[suffix]}" for suffix in second.keys() - {"csv"}}


def _listed(shown: str, others: Sequence[str], groups: Sequence[Group], tune: Mapping[str, Any]) -> str:
    """The csv of the exhibit with the rows of every trial; those of one cell stand together, in the order named."""
    columns, mine = _by_cell(shown)
    rows: dict[str, list[dict[str, Any]]] = {}
    for text in others:
        more, found = _by_cell(text)
        columns |= more
        rows |= found
    rows |= mine
    of_group = {group.cells[group.chosen]["id"]: group for group in groups}
    told: list[dict[str, Any]] = []
    for identity in dict.fromkeys([*mine, *of_group]):
        if identity not in of_group:  # a row of the exhibit that speaks of no cell
            told += mine[identity]
            continue
        group = of_group[identity]
        for place, (cell, runs) in enumerate(zip(group.cells, group.runs, strict=True)):
            values = runs.values(tune["by"])
            facts = {axis: cell["axes"][axis] for axis in tune["axes"]} | {
                "chosen": place == group.chosen,
                f"{tune['by']}_mean": _mean(values) if values else None,
                f"{tune['by']}_n": len(values),
            }
            nothing = {axis: show(value) for axis, value in cell["axes"].items()} | {"cell": cell["id"], "n": 0}
            told += [row | facts for row in rows.get(cell["id"]) or [nothing]]
    named = [*tune["axes"], "chosen", f"{tune['by']}_mean", f"{tune['by']}_n"]
    return csv_text([*(name for name in columns if name not in ("cell", *named)), *named, "cell"], told)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _by_cell(text: str) -> tuple[dict[str, None], dict[str, list[dict[str, Any]]]]:
    reader = csv.DictReader(io.StringIO(text))
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in reader:
        found[row.get("cell") or ""].append(row)
    return dict.fromkeys(reader.fieldnames or ()), dict(found)
