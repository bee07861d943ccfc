"""`snakemake audit` on the tiny study: silent when all is well, one sentence for each thing that was tampered with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparse_ortho.artifacts import digest_arrays, read_tensors, write_tensors
from sparse_ortho.plan.config import read_yaml
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.stages.audit import audited
from sparse_ortho.stages.auditing.findings import Findings
from sparse_ortho.store import Store
from tests.conftest import Checkout

Tamper = Callable[[Path], Any]


@pytest.fixture
def audit(built: Checkout, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Findings]:
    """An audit of the built study in this process."""
    monkeypatch.chdir(built.folder)
    plan = Plan(read_yaml(built.folder / "config.yaml"), built.folder)
    return lambda: audited(plan, Store("results/store"))


def first(results: Path, pattern: str) -> Path:
    return sorted(results.glob(pattern))[0]


def flip(path: Path) -> None:
    """One bit near the end: in the tensors, not in the header."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def rewrite(path: Path, change: Callable[[str, Any], None]) -> None:
    """A bundle with one seed changed and its digest made right again."""
    arrays, facts = read_tensors(path)
    cell, about = next(iter(facts["cells"].items()))
    seed, entry = next(iter(about["seeds"].items()))
    mine = {name.removeprefix(f"{cell}/{seed}/"): a.copy() for name, a in arrays.items() if f"{cell}/{seed}/" in name}
    change(cell, mine)
    entry["digest"] = digest_arrays(mine)
    write_tensors(path, arrays | {f"{cell}/{seed}/{name}": array for name, array in mine.items()}, facts)


def one_more(cell: str, mine: dict[str, Any]) -> None:
    name = next(name for name in mine if name.startswith("masks/") and not mine[name].all())
    mine[name].reshape(-1)[mine[name].reshape(-1).argmin()] = True


def off_mask(cell: str, mine: dict[str, Any]) -> None:
    name = next(name for name in mine if name.startswith("masks/") and not mine[name].all())
    mine[name.replace("masks/", "weights/")].reshape(-1)[mine[name].reshape(-1).argmin()] = 1e-20


def better(path: Path, column: str = "test_accuracy_last") -> None:
    """A table with one number a little higher."""
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, table.schema.field(column), pa.array(table[column].to_pandas() + 1.0)), path)


CASES: dict[str, tuple[str, Tamper, str]] = {
    "bit of a mask": ("masks/*", flip, "do not match their digest"),
    "bit of data": ("data/*", flip, "do not match their digest"),
    "bit of the store": ("store/train/*/*/tensors.safetensors", flip, "is damaged (its tensors do not match"),
    "a weight too many": ("masks/*", lambda path: rewrite(path, one_more), "keeps "),
    "a weight off its mask": ("inits/*", lambda path: rewrite(path, off_mask), "are not 0 where its mask is"),
    "another init": ("inits/*", lambda path: rewrite(path, off_mask), "was made from another init"),
    "a better record": ("records/*", better, "is not the record that the store keeps"),
    "a better curve": ("curves/*", lambda path: better(path, "test_accuracy"), "its curve is not the one"),
    "a record cut short": ("records/*", lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged"),
    "no curves": ("curves/*", Path.unlink, "is missing"),
    "no table": ("tables/tiny/tiny/accuracy.csv", Path.unlink, "is missing, and was made"),
    "no provenance": ("provenance/train/*", Path.unlink, "nothing is known of how it was made"),
    "other provenance": ("provenance/init/*", lambda path: path.write_text("{"), "is damaged"),
    "another table": ("tables/tiny/tiny/accuracy.md", lambda path: path.write_text("| 99 |"), "out of its records"),
    "another figure": ("figures/tiny/tiny/loss.csv", lambda path: path.write_text("x"), "out of its records"),
    "another page": ("report.html", lambda path: path.write_text("<p>"), "out of its records"),
}


def test_all_is_well_after_a_run(audit: Callable[[], Findings], built: Checkout) -> None:
    before = built.contents("masks", "inits", "records", "curves", "tables", "figures", "store", "provenance")
    found = audit()
    assert found.wrong == [] and not found.skipped
    assert found.checked["entries of the store"] == 4 + 8 + 8  # masks of two cells, inits and trainings of four
    assert found.checked["exhibits and pages made again"] == 3
    assert built.contents("masks", "inits", "records", "curves", "tables", "figures", "store", "provenance") == before


@pytest.mark.parametrize("case", CASES)
def test_what_was_tampered_with_is_named(case: str, audit: Callable[[], Findings], built: Checkout) -> None:
    pattern, tamper, sentence = CASES[case]
    path = first(built.results, pattern)
    tamper(path)
    wrong = audit().wrong
    told = [line for line in wrong if sentence in line]
    assert told, wrong
    name = path.parent.name if case == "bit of the store" else path.stem
    if case != "another init":  # there it is what has read it that is named
        assert any(name in line for line in told), told


def test_a_store_that_is_gone_is_no_violation(audit: Callable[[], Findings], built: Checkout) -> None:
    for path in built.results.glob("store/train/*/*/*"):
        path.unlink()
    for path in built.results.glob("store/train/*/*"):
        path.rmdir()
    found = audit()
    assert found.wrong == [] and found.skipped["rows whose entry of the store is gone"] == 8


def test_what_is_stale_is_said_and_not_judged(built: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    built.edit("studies/tiny/accuracy.yaml", "title: Accuracy", "title: Another")
    monkeypatch.chdir(built.folder)
    found = audited(Plan(read_yaml(built.folder / "config.yaml"), built.folder), Store("results/store"))
    assert found.wrong == []
    assert found.skipped == {"jobs that are stale (snakemake why says of what)": 2}  # the table and the report


def test_the_target_says_so_and_fails(built: Checkout) -> None:
    told = built.snakemake("audit").stderr
    assert told.count("audit: all is well: 20 entries of the store") == 1
    better(first(built.results, "records/*"))
    done = built.snakemake("audit", ok=False)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "is not the record that the store keeps" in done.stderr and "error: audit: " in done.stderr
