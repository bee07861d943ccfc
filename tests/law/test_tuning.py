"""Trials of a tuned grid: which there are, which one is shown, and how an exhibit tells of the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sparse_ortho.errors import UserError
from sparse_ortho.plan import job, tuning
from sparse_ortho.plan.config import Grid
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.report.collect import Runs
from sparse_ortho.report.tuning import chosen
from sparse_ortho.stages.exhibit import render
from sparse_ortho.training.columns import RECORD_COLUMNS

LAST, BEST = "validation_accuracy_last", "validation_accuracy_best"

# which trial is chosen -----------------------------------------------------------------------------------------------


def trial(*values: float | None, planned: int | None = None, status: str = "diverged") -> Runs:
    """Runs of which None did not finish; seeds beyond the values are missing."""
    rows = {
        seed: {"status": "ok" if value is not None else status, "reason": None, LAST: value}
        for seed, value in enumerate(values)
    }
    return Runs("cell", {}, tuple(range(planned or len(values))), rows)


@pytest.mark.parametrize(
    ("trials", "place"),
    [
        ([trial(90.0, 80.0), trial(86.0, 86.0)], 1),  # a mean, not the best seed
        ([trial(86.0, 86.0), trial(90.0, 80.0)], 0),
        ([trial(80.0), trial(90.0), trial(90.0)], 1),  # of equal ones the first
        ([trial(99.0, None), trial(50.0, 50.0)], 1),  # a diverged seed loses against none
        ([trial(99.0, None, status="refused"), trial(50.0, 50.0)], 1),
        ([trial(99.0, planned=2), trial(50.0, 50.0)], 1),  # and so does a missing one
        ([trial(99.0, None, None), trial(50.0, 50.0, None), trial(60.0, 40.0, None)], 1),
        ([trial(None, None), trial(1.0, None)], 1),
        ([trial(None), trial(None)], 0),
        ([trial(0.0), trial(None)], 0),  # nothing right is still finished
        ([trial(50.0, 50.0), trial(50.0, 50.000001)], 1),
    ],
)
def test_the_best_mean_of_the_most_finished_trials_is_chosen(trials: list[Runs], place: int) -> None:
    assert chosen(trials, LAST) == place


def test_rounding_chooses_nothing() -> None:
    """The mean of 0.1 and 0.2 is, in binary, above 0.15."""
    assert (0.1 + 0.2) / 2 > 0.15
    assert chosen([trial(0.15, 0.15), trial(0.1, 0.2)], LAST) == 0


COUNTS = st.lists(st.lists(st.none() | st.integers(0, 7), min_size=3, max_size=3), min_size=1, max_size=6)


@given(COUNTS, st.permutations(range(3)))
def test_the_choice_is_that_of_exact_fractions_whatever_the_order_of_the_seeds(
    counts: list[list[int | None]], order: list[int]
) -> None:
    """Accuracies are k of 7 images: an exact mean has no rounding to choose by."""

    def merit(place: int) -> tuple[int, Fraction, int]:
        found = [Fraction(count, 7) for count in counts[place] if count is not None]
        return len(found), sum(found, Fraction(0)) / max(1, len(found)), -place

    shuffled = [[row[seed] for seed in order] for row in counts]
    trials = [trial(*(None if count is None else 100 * count / 7 for count in row)) for row in shuffled]
    assert chosen(trials, LAST) == max(range(len(counts)), key=merit)


# what an exhibit shows -----------------------------------------------------------------------------------------------

LRS = (0.1, 0.01, 0.001)
# validation of seeds 0 and 1 by learning rate; None diverged. eoi: 0.01. kaiming: 0.001, although 0.1 did best once.
VALIDATED: dict[str, Sequence[Sequence[float | None]]] = {
    "eoi": [(70.0, 72.0), (80.0, 84.0), (60.0, 60.0)],
    "kaiming": [(95.0, None), (50.0, 52.0), (60.0, 70.0)],
}
TESTED: dict[str, Sequence[Sequence[float | None]]] = {
    "eoi": [(99.0, 99.0), (40.0, 42.0), (10.0, 10.0)],
    "kaiming": [(99.0, None), (98.0, 98.0), (30.0, 34.0)],
}
CELLS: list[dict[str, Any]] = [
    {
        "id": f"{init}-{lr}",
        "axes": {"mask": "erk", "init": init, "density": 0.1, "train.lr": lr},
        "seeds": [0, 1],
    }
    for init in VALIDATED
    for lr in LRS
]
RECORDS = [
    {
        "cell": f"{init}-{lr}",
        "seed": seed,
        "status": "diverged" if value is None else "ok",
        "reason": "loss is not finite" if value is None else None,
        LAST: value,
        "test_accuracy_last": TESTED[init][i][seed],
        "density": 0.1,
    }
    for init in VALIDATED
    for i, lr in enumerate(LRS)
    for seed, value in enumerate(VALIDATED[init][i])
]
TUNE = {"axes": ["train.lr"], "trials": 3, "by": LAST, "sentence": "Tuned: train.lr."}
EXHIBIT: dict[str, Any] = {
    "study": "tiny", "scale": "tiny", "name": "accuracy", "kind": "table", "title": "Accuracy", "caption": "Digits.",
    "category": "c", "labels": {}, "rows": ["mask"], "columns": ["init"], "metric": "test_accuracy_last",
    "published": False, "footnotes": ["Two epochs."], "reads": "records", "tune": TUNE, "panels": ["mask"],
    "hue": "init", "x": "epoch", "y": "train_loss",
}  # fmt: skip
CURVES = [
    {"cell": row["cell"], "seed": row["seed"], "epoch": epoch, "train_loss": (i + 1) / (epoch + 1)}
    for i, row in enumerate(RECORDS)
    if row["cell"] != "eoi-0.1"  # refused, say: it has no curve at all
    for epoch in range(3)
]


class Made:
    """Records and curves that lie in memory."""

    def __init__(self, records: list[dict[str, Any]]):
        self._rows = {"records": records, "curves": CURVES}

    def rows(self, reads: str, planned: set[tuple[str, int]]) -> Iterable[dict[str, Any]]:
        return [row for row in self._rows[reads] if (row["cell"], row["seed"]) in planned]

    def starts(self) -> Any:
        raise NotImplementedError


def shown(records=RECORDS, **changed: Any) -> dict[str, Any]:
    return render(EXHIBIT | changed, CELLS, Made(records), [])


def rows_of(files: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files["csv"])))


def test_a_table_shows_the_chosen_and_after_it_the_trials() -> None:
    """eoi 0.01 tests at 40 and 42, kaiming 0.001 at 30 and 34; t of one degree of freedom is 12.706."""
    assert shown()["md"] == (
        "## Accuracy\n\n"
        "| mask |             eoi |     kaiming |\n"
        "| ---- | --------------: | ----------: |\n"
        "| erk  | **41.0 ± 12.7** | 32.0 ± 25.4 |\n\n"
        "Digits.\n\n"
        "Entries: test accuracy in percent after the last epoch; mean ± half-width of the 95 % t-interval over n seeds "
        "(n = 2). Bold: the highest mean of a row.\n\n"
        "Two epochs.\n\n"
        "Tuned: train.lr.\n\n"
        "A trial with unfinished seeds loses against one with more finished ones; of equal trials the one named first "
        "is taken. The choice sees the validation part alone. The seeds that choose are those that are shown, so an "
        "interval says nothing of the choice.\n\n"
        "At an end of the list, beyond which a better value may lie: train.lr in 1 of 2 cells.\n"
        "\n## Trials of: Accuracy\n\n"
        "| mask | init    |          lr 0.1 |         lr 0.01 |        lr 0.001 |\n"
        "| ---- | ------- | --------------: | --------------: | --------------: |\n"
        "| erk  | eoi     |     71.0 ± 12.7 | **82.0 ± 25.4** |      60.0 ± 0.0 |\n"
        "| erk  | kaiming | 95.0 1 of 2 [a] |     51.0 ± 12.7 | **65.0 ± 63.5** |\n\n"
        "Every trial of train.lr; the table before it shows those in bold.\n\n"
        "Entries: validation accuracy in percent after the last epoch; mean ± half-width of the 95 % t-interval over n "
        "seeds (n = 2). Bold: the trial that was chosen.\n\n"
        "- [a] 1 of 2: diverged (loss is not finite)\n"
    )


def test_html_and_latex_hold_both_tables() -> None:
    files = shown()
    assert files["html"].count("<table") == files["html"].count("</table>") == 2
    assert "<strong>65.0 ± 63.5</strong>" in files["html"] and "<strong>95.0</strong>" not in files["html"]
    assert files["tex"].count(r"\begin{table}") == 2 and r"\label{tab:tiny-tiny-accuracy-trials}" in files["tex"]


def test_the_csv_lists_every_trial_and_says_which_was_chosen() -> None:
    rows = rows_of(shown())
    assert [(row["init"], float(row["train.lr"])) for row in rows] == [(i, lr) for i in VALIDATED for lr in LRS]
    assert [row["cell"] for row in rows if row["chosen"] == "true"] == ["eoi-0.01", "kaiming-0.001"]
    assert {row["chosen"] for row in rows} == {"true", "false"}
    for row in rows:
        place = LRS.index(float(row["train.lr"]))
        for column, n, table in ((f"{LAST}_mean", f"{LAST}_n", VALIDATED), ("mean", "n", TESTED)):
            values = [value for value in table[row["init"]][place] if value is not None]
            assert int(row[n]) == len(values)
            assert float(row[column]) == pytest.approx(np.mean(values))


def test_the_test_part_chooses_nothing() -> None:
    flipped = [row | {"test_accuracy_last": 100 - (row["test_accuracy_last"] or 0.0)} for row in RECORDS]
    before, after = rows_of(shown()), rows_of(shown(flipped))
    assert [row["chosen"] for row in before] == [row["chosen"] for row in after]
    assert [row["mean"] for row in before] != [row["mean"] for row in after]


def test_a_published_value_stands_beside_the_chosen_trial_alone() -> None:
    known = {"study": "tiny", "exhibit": "", "dataset": "", "model": "", "method": "erk; init=eoi", "density": 0.1,
             "metric": "test_accuracy", "mean": 98.7, "se": 0.1, "n": None, "source": "Table 1",
             "confidence": ""}  # fmt: skip
    files = render(EXHIBIT | {"published": True}, CELLS, Made(RECORDS), [known])
    assert files["md"].count("(98.7)") == 1
    assert [row["cell"] for row in rows_of(files) if row["published_mean"]] == ["eoi-0.01"]


def test_two_cells_in_one_place_are_refused_and_the_tuned_axis_is_no_way_out() -> None:
    with pytest.raises(UserError, match="fall into one place; show another axis; allowed: init$"):
        shown(columns=[])


def test_records_without_validation_are_refused() -> None:
    with pytest.raises(UserError, match="exhibit accuracy, tune: eoi-0.1 has no validation_accuracy_last"):
        shown([row | {LAST: None} for row in RECORDS])


def test_unfinished_trials_show_the_first_and_no_end_of_the_list() -> None:
    files = shown([])
    assert [row["cell"] for row in rows_of(files) if row["chosen"] == "true"] == ["eoi-0.1", "kaiming-0.1"]
    assert "At an end" not in files["md"]


def test_a_figure_draws_the_chosen_and_its_csv_has_every_trial() -> None:
    """The drawing is that of the same exhibit without `tune`, of the cells that the records choose."""
    tuned = shown(kind="curves", reads="curves")
    plain = {key: value for key, value in EXHIBIT.items() if key != "tune"} | {"kind": "curves", "reads": "curves"}
    winners = [cell for cell in CELLS if cell["id"] in ("eoi-0.01", "kaiming-0.001")]
    drawn = render(plain, winners, Made(RECORDS), [])
    assert (tuned["svg"], tuned["png"]) == (drawn["svg"], drawn["png"])
    rows = rows_of(tuned)
    assert {row["cell"] for row in rows} == {cell["id"] for cell in CELLS}
    assert {row["cell"] for row in rows if row["chosen"] == "true"} == {"eoi-0.01", "kaiming-0.001"}
    columns = list(rows_of(drawn)[0])
    kept = [{name: row[name] for name in columns} for row in rows if row["chosen"] == "true"]
    assert kept == rows_of(drawn)
    (nothing,) = [row for row in rows if row["cell"] == "eoi-0.1"]
    assert (nothing["n"], nothing["epoch"], nothing["init"], nothing["train.lr"]) == ("0", "", "eoi", "0.1")


# which trials there are ----------------------------------------------------------------------------------------------

STUDY = {
    "title": "Tiny",
    "paper": "None.",
    "scales": {
        "tiny": {
            "seeds": [0, 1],
            "cell": {"data": "digits", "model": {"name": "mlp", "depth": 3, "width": 16}, "train": {"lr": 0.05}},
        }
    },
}
SHOWN = {"kind": "table", "title": "A", "caption": "B.", "category": "C", "rows": ["mask"], "columns": ["init"]}
ENTRY = {"mask": ["uniform", "erk"], "density": 0.3, "init": ["kaiming", "eoi"]}
GRID: dict[str, Any] = {"cells": [ENTRY], "tune": {"train.lr": [0.1, 0.01], "train.momentum": [0.0, 0.5, 0.9]}}


def plan(folder: Path, grid: dict[str, Any], **changed: Any) -> Plan:
    place = folder / "studies" / "tiny"
    place.mkdir(parents=True, exist_ok=True)
    (place / "study.yaml").write_text(yaml.safe_dump(STUDY))
    (place / "accuracy.yaml").write_text(yaml.safe_dump(SHOWN | changed | {"scales": {"tiny": grid}}, sort_keys=False))
    return Plan({"studies": ["tiny"], "scale": "tiny", "device": "cpu"}, folder)


def views(made: Plan) -> Any:
    return made.study("tiny").exhibits["accuracy"][2]


def test_every_cell_has_the_same_trials_and_seeds(tmp_path: Path) -> None:
    found = views(plan(tmp_path, GRID))
    grid = [(lr, momentum) for lr in (0.1, 0.01) for momentum in (0.0, 0.5, 0.9)]
    assert [(v.axes["mask"], v.axes["init"], v.axes["train.lr"], v.axes["train.momentum"]) for v in found] == [
        (mask, init, *pair) for mask in ("uniform", "erk") for init in ("kaiming", "eoi") for pair in grid
    ]
    assert {v.seeds for v in found} == {(0, 1)}


def test_a_trial_is_the_cell_that_says_the_same_without_tuning(tmp_path: Path) -> None:
    written = {"cells": [ENTRY | {"train.lr": [0.1, 0.01], "train.momentum": [0.0, 0.5, 0.9]}]}
    tuned = {view.id for view in views(plan(tmp_path / "tuned", GRID))}
    assert tuned == {view.id for view in views(plan(tmp_path / "written", written))} and len(tuned) == 24


def test_a_job_holds_its_trials_by_cell_and_an_exhibit_without_them_says_nothing(tmp_path: Path) -> None:
    made = job.load(plan(tmp_path / "tuned", GRID | {"by": BEST}).exhibit_job("tiny", "accuracy")).more
    facts = made["exhibit"]["tune"]
    assert (facts["axes"], facts["trials"], facts["by"]) == (["train.lr", "train.momentum"], 6, BEST)
    assert facts["sentence"] == (
        "Tuned: train.lr among 0.1, 0.01 and train.momentum among 0.0, 0.5, 0.9; every cell has the same 6 trials with"
        " the same seeds, and shows the one with the highest mean validation accuracy, at the best epoch of each seed."
    )
    cells = job.load_cells(made["cells"])
    for start in range(0, 24, 6):
        apart = [{axis: cell["axes"][axis] for axis in ("mask", "init")} for cell in cells[start : start + 6]]
        assert apart == [apart[0]] * 6
    assert (
        "tune"
        not in job.load(plan(tmp_path / "plain", {"cells": [ENTRY]}).exhibit_job("tiny", "accuracy")).more["exhibit"]
    )


def test_a_figure_reads_curves_and_the_records_that_choose(tmp_path: Path) -> None:
    changed = {"kind": "curves", "rows": [], "columns": [], "panels": ["mask"], "hue": "init"}
    made = plan(tmp_path / "tuned", GRID, **changed)
    curves = [path for path in made.exhibit_inputs("tiny", "accuracy") if "/curves/" in path]
    records = [path for path in made.exhibit_inputs("tiny", "accuracy") if "/records/" in path]
    assert {*curves, *records} == set(made.records("tiny"))
    assert [path.replace("/curves/", "/records/") for path in curves] == records
    (exhibit,) = job.load(made.report_job()).more["studies"][0]["exhibits"]
    assert exhibit["caption"].startswith("B. Tuned: train.lr among 0.1, 0.01")
    plain = plan(tmp_path / "plain", {"cells": [ENTRY]}, **changed)
    assert all("/curves/" in path for path in plain.exhibit_inputs("tiny", "accuracy"))
    assert job.load(plain.report_job()).more["studies"][0]["exhibits"][0]["caption"] == "B."


def test_what_may_choose_is_every_validation_column_of_the_records() -> None:
    assert set(tuning.BY) == {name for name in RECORD_COLUMNS if name.startswith("validation_")}
    assert tuning.chosen_by(Grid(cells=[{}])) == LAST


LR = {"train.lr": [0.1, 0.01]}
MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "empty list": ({"tune": {"train.lr": []}}, {}, ["tune.train.lr", "two values"]),
    "one value": ({"tune": {"train.lr": [0.1]}}, {}, ["tune.train.lr", "two values", "0.1"]),
    "no list": ({"tune": {"train.lr": 0.1}}, {}, ["tune.train.lr", "list"]),
    "value twice": ({"tune": {"train.lr": [1, 0.1, 1.0]}}, {}, ["tune.train.lr", "twice", "1.0"]),
    "no number": ({"tune": {"train.lr": [0.1, "low"]}}, {}, ["train.lr", "'low'"]),
    "unknown axis": ({"tune": {"lr": [0.1, 0.01]}}, {}, ["tune.lr", "unknown axis", "train"]),
    "unknown option": ({"tune": {"train.lrr": [0.1, 0.01]}}, {}, ["train.lrr", "did you mean 'lr'"]),
    "a method": ({"tune": {"init": ["eoi", "kaiming"]}}, {}, ["tune.init", "option"]),
    "a method's name": ({"tune": {"init.name": ["eoi", "kaiming"]}}, {}, ["tune.init.name", "option"]),
    "density": ({"tune": {"density": [0.1, 0.2]}}, {}, ["tune.density", "options of train"]),
    "validation part": ({"tune": {"data.validation": [0.1, 0.2]}}, {}, ["tune.data.validation", "no axis"]),
    "axis of the rows": ({"tune": LR}, {"rows": ["mask", "train.lr"]}, ["tune.train.lr", "lays out"]),
    "axis of the hue": ({"tune": LR}, {"hue": "train.lr"}, ["tune.train.lr", "lays out"]),
    "also in cells": (
        {"tune": LR, "cells": [{"mask": "dense", "init": "eoi"}, ENTRY | {"train.lr": 0.2}]},
        {},
        ["cells[1]", "train.lr", "`tune` alone"],
    ),
    "also in a mapping": ({"tune": LR, "cells": [ENTRY | {"train": {"lr": 0.2}}]}, {}, ["cells[0]", "`tune` alone"]),
    "also in an exclusion": ({"tune": LR, "exclude": [{"train.lr": 0.1}]}, {}, ["exclude", "same trials"]),
    "chosen on test": ({"tune": LR, "by": "test_accuracy_last"}, {}, ["by", "never of test", "validation_"]),
    "misspelt column": ({"tune": LR, "by": "validation_accuracy"}, {}, ["by", "did you mean 'validation_accuracy_"]),
    "nothing to choose": ({"by": LAST}, {}, ["by", "there is none"]),
    "nothing is trained": ({"tune": LR}, {"kind": "layers"}, ["tune", "layers", "nothing is trained"]),
    "no validation part": ({"tune": LR, "cells": [ENTRY | {"data.validation": 0}]}, {}, ["digits", "validation"]),
    "no validation image": (
        {"tune": LR, "cells": [ENTRY | {"data.validation": 0.0001}]},
        {},
        ["digits", "0.0001", "no validation part"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_tune_block_is_one_sentence(mistake: str, tmp_path: Path) -> None:
    grid, changed, words = MISTAKES[mistake]
    with pytest.raises(UserError) as caught:
        plan(tmp_path, {"cells": [ENTRY]} | grid, **changed).targets()
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.startswith("studies/tiny/accuracy.yaml")
    for word in words:
        assert word in sentence, f"{word!r} is not in: {sentence}"


def test_trials_that_two_cells_share_are_refused() -> None:
    """Five places of two trials each: one trial went to an earlier cell."""
    grid = Grid(cells=[{}], tune=LR)
    places = [{"train.lr": lr} for lr in (0.1, 0.01, 0.1, 0.1, 0.01)]
    with pytest.raises(UserError, match="share some of their trials"):
        tuning.check_trials(places, [], grid, "here")
    tuning.check_trials([*places[:2], *places[3:]], [], grid, "here")
