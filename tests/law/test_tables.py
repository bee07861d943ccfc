"""What a table says, on hand-made records with the expected text written out."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import pytest

from sparse_ortho.artifacts import write_table
from sparse_ortho.errors import UserError
from sparse_ortho.plan import published as written
from sparse_ortho.report import published, tables
from sparse_ortho.report.collect import by_cell, results

EXHIBIT: dict[str, Any] = {
    "study": "eoi", "scale": "quick", "name": "accuracy", "kind": "table", "title": "Accuracy",
    "caption": "Digits.", "category": "c", "labels": {}, "rows": ["density", "mask"], "columns": ["init"],
    "metric": "test_accuracy_last", "published": False, "footnotes": ["Ten epochs."],
}  # fmt: skip


def cell(name: str, seeds=(0, 1, 2), **axes) -> dict[str, Any]:
    return {"id": name, "axes": {"data": "digits", "model": "mlp"} | axes, "seeds": list(seeds)}


def runs(name: str, *values: float | None, status="ok", reason: str | None = None, first=0) -> list[dict[str, Any]]:
    return [
        {"cell": name, "seed": first + i, "status": status, "reason": reason, "test_accuracy_last": v, "density": 0.1,
         "test_accuracy_max": v}
        for i, v in enumerate(values)
    ]  # fmt: skip


CELLS = [
    cell("a", mask="erk", init="kaiming", density=0.1),
    cell("b", mask="erk", init="eoi", density=0.1),
    cell("c", mask="uniform", init="kaiming", density=0.1),
    cell("d", mask="uniform", init="eoi", density=0.1),
    cell("e", mask="dense", init="kaiming", density=1.0),
]
# 90 91 92 and 93 94 95: std 1, half-width 4.303 / sqrt(3) = 2.48; 80 and 82: std 1.414, 12.706 x 1 = 12.7
RECORDS = [
    *runs("a", 90.0, 91.0, 92.0),
    *runs("b", 93.0, 94.0, 95.0),
    *runs("c", 80.0, 82.0),
    *runs("c", None, status="diverged", reason="loss is not finite", first=2),
    *runs("d", None, None, None, status="refused", reason="no law below 0.2"),
    *runs("e", 97.0),
]
ROW = {"study": "eoi", "exhibit": "", "dataset": "", "model": "", "method": "erk; init=eoi", "density": 0.1,
       "metric": "test_accuracy", "mean": 98.7, "se": 0.1, "n": None, "source": "Table 1",
       "confidence": ""}  # fmt: skip


def render(cells=CELLS, records=RECORDS, rows=(), **changed) -> dict[str, str]:
    return tables.render(EXHIBIT | changed, cells, records, list(rows))


def test_markdown_is_this_text():
    assert render()["md"] == (
        "## Accuracy\n\n"
        "| density | mask    |                kaiming |            eoi |\n"
        "| ------- | ------- | ---------------------: | -------------: |\n"
        "| 0.1     | erk     |             91.0 ± 2.5 | **94.0 ± 2.5** |\n"
        "| 0.1     | uniform | 81.0 ± 12.7 2 of 3 [a] |    refused [b] |\n"
        "| 1       | dense   |        97.0 1 of 3 [c] |              – |\n\n"
        "Digits.\n\n"
        "Entries: test accuracy in percent after the last epoch; mean ± half-width of the 95 % t-interval over n seeds "
        "(n = 3). Bold: the highest mean of a row.\n\n"
        "Ten epochs.\n\n"
        "- [a] 2 of 3: diverged (loss is not finite)\n"
        "- [b] refused: no law below 0.2\n"
        "- [c] 1 of 3: 2 missing\n"
    )


def test_html_has_header_cells_with_spans():
    html = render()["html"]
    assert '<th scope="rowgroup" rowspan="2">0.1</th><th scope="row">erk</th>' in html
    assert '<td class="best"><strong>94.0 ± 2.5</strong></td>' in html
    assert '<td class="partial">81.0 ± 12.7 <span class="count">2 of 3</span><sup>a</sup></td>' in html
    assert '<td class="refused">refused<sup>b</sup></td>' in html
    assert '<td class="absent">–</td>' in html


def test_latex_is_escaped_and_uses_booktabs():
    tex = render(
        [cell("a", mask="a_b&c", init="50%", density=0.1)], runs("a", 1.0), title="$x^2$ #1 {y} ~ \\z", rows=["mask"]
    )["tex"]
    assert r"\caption{\$x\textasciicircum{}2\$ \#1 \{y\} \textasciitilde{} \textbackslash{}z. Digits.}" in tex
    assert r"a\_b\&c & 1.0 1 of 3\textsuperscript{a} \\" in tex and r"mask & 50\% \\" in tex
    assert all(line in tex for line in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert r"\textbf{94.0 $\pm$ 2.5}" in render()["tex"]


def test_markup_in_words_stays_text():
    found = render([cell("a", mask="<b>|*", init="x", density=0.1)], runs("a", 1.0))
    assert "&lt;b&gt;|*" in found["html"] and "&lt;b>\\|\\*" in found["md"]


def test_csv_carries_what_the_table_shows():
    rows = list(csv.DictReader(io.StringIO(render(rows=[ROW], published=True)["csv"])))
    assert [row["cell"] for row in rows] == ["a", "b", "c", "d", "e"]
    b, c, d = rows[1:4]
    assert (b["mask"], b["init"], float(b["density"]), b["n"], b["planned"]) == ("erk", "eoi", 0.1, "3", "3")
    assert float(b["mean"]) == 94.0 and float(b["std"]) == 1.0
    assert float(b["half_width"]) == pytest.approx(4.302652729911275 / math.sqrt(3), rel=1e-9)
    assert (b["published_mean"], b["published_se"], b["published_source"]) == ("98.7", "0.1", "Table 1")
    assert (c["ok"], c["diverged"], c["missing"], c["published_mean"]) == ("2", "1", "0", "")
    assert (d["refused"], d["mean"], d["density_measured"]) == ("3", "", "")
    assert float(c["density_measured"]) == 0.1


def test_published_values_stand_beside_and_unknown_ones_are_absent():
    found = render(rows=[ROW], published=True)
    assert "**94.0 ± 2.5** (98.7)" in found["md"] and "91.0 ± 2.5 (–)" in found["md"]
    assert "Source: Table 1." in found["md"]
    nothing = render(rows=[ROW | {"method": "synflow"}], published=True)["md"]
    assert "No published value is known for these cells." in nothing and "(–)" not in nothing
    assert "98.7" not in render(rows=[ROW], published=False)["csv"]


def test_selection_on_test_is_named():
    assert "maximum over epochs on test (selection on test)" in render(metric="test_accuracy_max")["md"]


def test_a_low_loss_is_the_best_and_a_count_has_no_best():
    cells = CELLS[:2]
    records = [row | {"test_loss": v, "nonzeros": v} for row, v in zip(RECORDS[:6], [3, 3, 3, 2, 2, 2], strict=True)]
    assert "**2 ± 0**" in render(cells, records, metric="test_loss")["md"]
    assert "**" not in render(cells, records, metric="nonzeros")["md"]


def test_mistakes_are_told_in_one_sentence():
    with pytest.raises(UserError, match="did you mean 'test_accuracy_last'"):
        render(metric="test_accuracy_lost")
    with pytest.raises(UserError, match="show another axis; allowed: init"):
        render(columns=[])
    with pytest.raises(UserError, match="two records of seed 0"):
        render(records=RECORDS + RECORDS[:1])


def test_rows_of_other_cells_and_seeds_are_not_counted():
    (found,) = by_cell([cell("a", seeds=[1])], [*runs("a", 1.0, 2.0, 3.0), *runs("z", 4.0)])
    assert (found.values("test_accuracy_last"), found.counts()) == ([2.0], {"ok": 1})


def test_results_is_one_frame_of_all_records(tmp_path):
    columns = {"cell": "string", "seed": "int64", "status": "string", "test_accuracy_last": "double"}
    for name in ("b", "a"):
        write_table(tmp_path / "records" / f"{name}.parquet", runs(name, 1.0, 2.0), columns)
    frame = results(tmp_path)
    assert list(frame.columns) == ["cell", "seed", "status", "test_accuracy_last"]
    assert list(frame["cell"]) == ["a", "a", "b", "b"]
    with pytest.raises(UserError, match="holds no records"):
        results(tmp_path / "nowhere")


def table_file(path, *lines: str):
    path.write_text("\n".join([",".join(written.COLUMNS), *lines]) + "\n")
    return path


def test_published_file_is_validated_with_file_and_line(tmp_path):
    good = "eoi,accuracy,digits,mlp,eoi,0.1,test_accuracy,98.7,,5,Table 1,text"
    (row,) = written.read(table_file(tmp_path / "p.csv", good))
    assert (row["density"], row["mean"], row["se"], row["n"]) == (0.1, 98.7, None, 5)
    for bad, told in (
        (good.replace("98.7", "98,7"), "p.csv:3: has another number of fields"),
        (good.replace("98.7", "high"), "p.csv:3, mean: is not a number"),
        (good.replace("0.1", "10"), "p.csv:3, density"),
        (good.replace("Table 1", ""), "p.csv:3: source is empty"),
    ):
        with pytest.raises(UserError, match=told):
            written.read(table_file(tmp_path / "p.csv", good, bad))
    (tmp_path / "p.csv").write_text("study,exhibitt\n")
    with pytest.raises(UserError, match=r"p.csv:1: unknown column.*did you mean 'exhibit'"):
        written.read(tmp_path / "p.csv")


def test_published_rows_match_by_what_they_say():
    axes = {"data": "mnist", "model": "lenet300_100", "mask": "erk", "rule": "rigl", "density": 0.05}

    def found(metric="test_accuracy_last", **fields):
        row = ROW | {"density": 0.05, "method": "rigl, erk"} | fields
        return published.match([row], "fig2", axes, metric) is not None

    assert found() and found(dataset="MNIST", model="lenet300-100", exhibit="fig2", method="rule=rigl")
    assert not found(dataset="cifar10") and not found(model="mlp") and not found(exhibit="fig3")
    assert not found(method="set, erk") and not found(density=0.1) and not found(mean=None)
    assert not found(metric="test_accuracy_max")  # a paper's accuracy is the last one unless its row says maximum
    dense = axes | {"mask": "dense", "density": 1.0}
    assert published.match([ROW | {"method": "dense", "density": 1.0}], "x", dense, "test_accuracy_last")


def test_the_closest_published_row_speaks_and_a_tie_is_refused():
    axes = {"mask": "erk", "init": "eoi", "density": 0.1}
    loose, close = ROW | {"method": "eoi", "mean": 1.0}, ROW | {"method": "eoi, erk", "mean": 2.0}
    assert published.match([loose, close], "x", axes, "test_accuracy_last") is close
    with pytest.raises(UserError, match="several values"):
        published.match([close, close | {"mean": 3.0}], "x", axes, "test_accuracy_last")
