"""One run without a study: the same plan, store and errors, and the papers' spellings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sparse_ortho.artifacts import read_tables
from sparse_ortho.errors import UserError
from sparse_ortho.plan.identity import resolve_cell
from tests.conftest import ROOT

RAW = {"data": "digits", "model": {"name": "mlp", "width": 64}, "density": 0.1}


def run(folder: Path, *settings: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPARSE_ORTHO")}
    return subprocess.run(
        [sys.executable, "-m", "workflow_scripts.run", "--device", "cpu", "--set", *settings],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
    )


def test_a_run_prints_its_records_and_accuracy_and_comes_from_the_store_the_second_time(tmp_path: Path) -> None:
    words = ["mask=snip_direct_EI", "density=0.2", "model.width=64", "train.epochs=2", "seeds=[3, 4]"]
    first = run(tmp_path, *words)
    assert first.returncode == 0, first.stderr
    (path,) = re.findall(r"^records: (.+)$", first.stderr, re.MULTILINE)
    rows = read_tables([tmp_path / path])
    assert [row["seed"] for row in rows] == [3, 4]
    for row in rows:
        assert f"seed {row['seed']}: ok, test accuracy {row['test_accuracy_last']:.2f} %" in first.stderr
    again = run(tmp_path, *words)
    assert "train 1/" not in again.stderr and again.returncode == 0
    assert read_tables([tmp_path / path]) == rows


def test_help_lists_keys_defaults_and_meaning() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.run", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    for word in (
        "fraction of the weights",
        "epochs=100",
        "momentum=0.9",
        "eoi",
        "gain=1.0",
        "synflow",
        "rounds=100",
        "[0]",
    ):
        assert word in done.stdout, word


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["density=2"], ["density", "(0, 1]"]),
        (["densty=0.1"], ["densty", "did you mean 'density'"]),
        (["model=mpl"], ["model", "'mpl'", "mlp"]),
        (["train.epoch=3"], ["train.epoch", "did you mean 'epochs'"]),
        (["seeds=[-1]"], ["seeds", "-1"]),
        (["seeds=many"], ["seeds", "many"]),
        (["density"], ["--set", "KEY=VALUE"]),
        (["mask=erk_XY"], ["mask", "erk_XY"]),
        (["mask=erk_EI", "init=kaiming"], ["erk_EI", "kaiming"]),
        (["mask={score: random, leyers: erk}"], ["leyers", "did you mean 'layers'"]),
        (["density=0.001"], ["out of reach", "0.01"]),
        (["model.depth=0"], ["depth", "0"]),
        (["fixed_seeds={oder: 1}"], ["oder", "did you mean 'order'"]),
        (["data=mnist"], ["SPARSE_ORTHO_DATA"]),
    ],
)
def test_mistakes_are_one_sentence(settings: list[str], words: list[str], tmp_path: Path) -> None:
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = run(tmp_path, *settings, **nowhere)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    for word in words:
        assert word in sentence, sentence
    assert not list(tmp_path.rglob("records.parquet"))


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("erk_AI", {"mask": "erk", "init": "isometry"}),
        ("uniform_EI", {"mask": "uniform", "init": "eoi"}),
        ("snip_direct_EI", {"mask": "snip", "init": "eoi"}),
        ("grasp_direct_AI", {"mask": {"score": "grasp", "layers": "global"}, "init": "isometry"}),
        ("synflow_direct_EI", {"mask": "synflow", "init": "eoi"}),
    ],
)
def test_the_papers_spellings_share_the_identity_of_what_they_mean(word: str, meaning: dict[str, object]) -> None:
    assert resolve_cell(RAW | {"mask": word}, "here").id == resolve_cell(RAW | meaning, "here").id


def test_ratio_only_is_another_cell_than_direct() -> None:
    ratio = resolve_cell(RAW | {"mask": {"score": "random", "layers": "snip"}, "init": "eoi"}, "here")
    assert ratio.id != resolve_cell(RAW | {"mask": "snip", "init": "eoi"}, "here").id
    assert "data" in ratio.nodes["mask"].inputs, "SNIP reads data even when it only counts"


def test_a_spelling_that_contradicts_the_init_is_refused() -> None:
    with pytest.raises(UserError, match="erk_AI says init=isometry"):
        resolve_cell(RAW | {"mask": "erk_AI", "init": "eoi"}, "here")


@pytest.mark.parametrize("mask", ["erk", "uniform"])
def test_mnist_passes_90_percent_within_three_epochs(mask: str, tmp_path: Path) -> None:
    """The seven-layer tanh MLP with EOI at density 0.1, on the real MNIST."""
    data = os.environ.get("SPARSE_ORTHO_DATA")
    if not data or not (Path(data) / "mnist").is_dir():
        pytest.skip("SPARSE_ORTHO_DATA does not point at MNIST's files")
    words = ["data=mnist", f"mask={mask}", "init=eoi", "density=0.1", "train.epochs=3", "train.lr=0.01"]
    done = run(tmp_path, *words, "train.milestones=[]", SPARSE_ORTHO_DATA=data)
    assert done.returncode == 0, done.stderr
    (row,) = read_tables(tmp_path.rglob("records.parquet"))
    assert row["test_accuracy_last"] > 90
