"""The promise of the store and the rules: a result is made again exactly when something that made it changed.

All on real Snakemake with a tiny study of four cells, {uniform, erk} x {kaiming, eoi}, two seeds each. What was trained
is counted from the store's own log, never from Snakemake's job list.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import sparse_ortho as so
from sparse_ortho.artifacts import read_tables
from tests.conftest import ROOT, Checkout, copy_sources

NOTHING = "Nothing to be done"


def cells(made: list[str], word: str) -> list[str]:
    return [name for name in made if f"-{word}-" in name]


def test_second_run_is_empty_from_anywhere_with_a_bare_path(built: Checkout, tmp_path: Path) -> None:
    assert NOTHING in built.snakemake().stderr
    words = ["-s", str(built.folder / "Snakefile"), "-d", str(built.folder)]
    bare = {"PATH": "/usr/bin:/bin"}
    assert NOTHING in built.snakemake(*words, cwd=tmp_path, **bare).stderr
    shutil.rmtree(built.results / "records")
    built.snakemake(*words, cwd=tmp_path, **bare)  # jobs find their interpreter and sources, too
    assert built.made("train") == []


def test_git_state_is_in_no_artifact(built: Checkout, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = copy_sources(tmp_path / "elsewhere")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], cwd=other.folder, check=True)
    (other.folder / "README.md").write_text("dirty")
    other.snakemake()
    assert other.contents() == built.contents()
    assert len(other.made("train")) == 8


def test_editing_a_method_trains_exactly_its_cells(built: Checkout) -> None:
    built.edit("sparse_ortho/inits/kaiming.py", "gain: float = 1.4142135623730951", "gain: float = 1.0")
    built.snakemake()
    events = built.events()
    trained = [e["cell"] for e in events if e["event"] == "made" and e["stage"] == "train"]
    assert len(trained) == 4 and all("-kaiming-" in cell for cell in trained)


def test_a_comment_trains_nothing_and_starts_no_job(built: Checkout) -> None:
    for file in ("sparse_ortho/inits/eoi.py", "sparse_ortho/training/loop.py", "sparse_ortho/masks.py"):
        path = built.folder / file
        path.write_text(path.read_text() + "\n# a comment\n")
    assert NOTHING in built.snakemake().stderr


def test_a_new_registry_line_starts_no_job(built: Checkout) -> None:
    built.edit(
        "sparse_ortho/registry.py",
        '        "kaiming": "sparse_ortho.inits.kaiming:kaiming",',
        '        "kaiming": "sparse_ortho.inits.kaiming:kaiming",\n        "novel": "sparse_ortho.inits.novel:novel",',
    )
    shutil.copy(built.folder / "sparse_ortho/inits/kaiming.py", built.folder / "sparse_ortho/inits/novel.py")
    built.edit("sparse_ortho/inits/novel.py", "def kaiming", "def novel")
    assert NOTHING in built.snakemake().stderr


def test_a_new_seed_trains_only_that_seed(built: Checkout) -> None:
    built.edit("studies/tiny/study.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    built.snakemake()
    made = built.made("train")
    assert len(made) == 4 and all(name.endswith(" 2") for name in made)


def test_a_changed_mask_trains_exactly_the_runs_that_read_it(built: Checkout) -> None:
    built.edit("sparse_ortho/densities/erk.py", "power: float = 1.0", "power: float = 0.5")
    built.snakemake()
    made = built.made("train")
    assert len(made) == 4 and cells(made, "erk") == made


def test_an_equal_mask_from_changed_code_trains_nothing(built: Checkout) -> None:
    path = built.folder / "sparse_ortho/densities/erk.py"
    path.write_text(path.read_text() + "\nUNUSED = 1\n")
    built.snakemake()
    events = built.events()
    assert {e["stage"] for e in events if e["event"] == "made"} == {"mask"}, (
        "the changed code runs, its equal result stops there"
    )
    assert {e["event"] for e in events if e["stage"] == "train"} <= {"served"}


def test_swapped_option_values_retrain_and_reordered_keys_do_not(built: Checkout) -> None:
    built.edit(
        "studies/tiny/study.yaml", "{epochs: 2, batch_size: 128, lr: 0.05}", "{lr: 0.05, batch_size: 128, epochs: 2}"
    )
    assert NOTHING in built.snakemake().stderr
    built.edit("studies/tiny/study.yaml", "{lr: 0.05,", "{lr: 0.25, momentum: 0.75,")
    built.snakemake()
    assert len(built.made("train")) == 8
    built.edit("studies/tiny/study.yaml", "{lr: 0.25, momentum: 0.75,", "{lr: 0.75, momentum: 0.25,")
    built.snakemake()
    assert len(built.made("train")) == 8


def test_an_option_written_with_its_default_is_the_same_cell(built: Checkout) -> None:
    built.edit("studies/tiny/study.yaml", "lr: 0.05}", "lr: 0.05, momentum: 0.9}")
    assert NOTHING in built.snakemake().stderr


def test_the_store_serves_nothing_when_an_input_differs(built: Checkout) -> None:
    """Another data set under the same identity: same spec, seed, code and env, so only the inputs tell."""
    built.edit("sparse_ortho/data/digits.py", '"split", "digits"', '"split", "digits again"')
    built.snakemake()
    assert len(built.made("train")) == 8


def test_a_deleted_record_is_refilled_from_the_store(built: Checkout) -> None:
    before = built.contents()
    record = sorted((built.results / "records").iterdir())[0]
    record.unlink()
    built.snakemake()
    assert built.made("train") == []
    assert built.contents() == before


def test_without_the_store_a_deleted_record_is_trained_to_the_same_bytes(built: Checkout) -> None:
    before = built.contents()
    record = sorted((built.results / "records").iterdir())[0]
    record.unlink()
    built.snakemake("--config", "store=false")
    assert built.made("train") != []
    assert built.contents() == before


@pytest.mark.parametrize("file", ["tensors.safetensors", "entry.json"])
def test_a_truncated_entry_is_trained_again(built: Checkout, file: str) -> None:
    before = built.contents()
    entry = sorted((built.results / "store" / "train").glob(f"*/*/{file}"))[0]
    entry.write_bytes(entry.read_bytes()[:-7])
    shutil.rmtree(built.results / "records")
    built.snakemake()
    events = built.events()
    assert [e["event"] for e in events].count("damaged") == 1
    assert [e["event"] for e in events if e["stage"] == "train"].count("made") == 1
    assert built.contents() == before


def test_forgetting_a_cell_trains_exactly_that_cell(built: Checkout) -> None:
    before = built.contents()
    entry = sorted((built.results / "store" / "train").glob("*/*/entry.json"))[0]
    name = json.loads(entry.read_text())["about"]["cell"]
    python = Path(built.command()[0]).parent / "python"
    subprocess.run(
        [python, "-m", "workflow_scripts.store", "forget", name], cwd=built.folder, check=True, env=built.env()
    )
    built.snakemake()
    made = built.made("train")
    assert len(made) == 2 and all(line.startswith(name) for line in made)
    assert built.contents() == before


def test_forgetting_by_how_a_name_begins_makes_all_its_stages_again(built: Checkout) -> None:
    """With one bundle a stage, masks, inits and records share its name."""
    built.edit("config.yaml", "bundle: 2", "bundle: 16")
    built.snakemake()
    built.events()
    before = built.contents("tables", "figures")
    python = Path(built.command()[0]).parent / "python"
    words = [python, "-m", "workflow_scripts.store", "forget", "digits-mlp-erk"]
    subprocess.run(words, cwd=built.folder, check=True, env=built.env())
    built.snakemake()
    made = [e for e in built.events() if e["event"] == "made"]
    assert {stage: sum(e["stage"] == stage for e in made) for stage in ("mask", "init", "train")} == {
        "mask": 2, "init": 4, "train": 4,
    }  # fmt: skip
    assert all(e["cell"].startswith("digits-mlp-erk") for e in made)
    assert built.contents("tables", "figures") == before


def test_a_large_artifact_rebuilt_with_equal_bytes_triggers_nothing(checkout: Checkout) -> None:
    checkout.edit("studies/tiny/study.yaml", "width: 16", "width: 500")
    checkout.edit("studies/tiny/study.yaml", "epochs: 2", "epochs: 1")
    checkout.snakemake()
    inits = sorted((checkout.results / "inits").iterdir())
    large = max(inits, key=lambda path: path.stat().st_size)
    assert large.stat().st_size > 3_000_000
    old = large.stat().st_mtime_ns
    checkout.snakemake("--force", str(large.relative_to(checkout.folder)))
    assert large.stat().st_mtime_ns > old
    assert NOTHING in checkout.snakemake().stderr


def test_bundle_size_changes_no_record(built: Checkout) -> None:
    def rows(kind: str) -> list[tuple[str, int, str]]:
        found = read_tables(sorted((built.results / kind).glob("*.parquet")))
        return sorted((row["cell"], row["seed"], repr(row)) for row in found)

    before = {kind: rows(kind) for kind in ("records", "curves")}
    tables = built.contents("tables", "figures")
    for size in (1, 8):
        for kind in ("records", "curves", "inits", "masks", "tables", "figures", "store"):
            shutil.rmtree(built.results / kind)
        built.snakemake("--config", f"bundle={size}")
        assert {kind: rows(kind) for kind in ("records", "curves")} == before
        assert built.contents("tables", "figures") == tables
    assert len(built.made("train")) == 8


def test_seeds_do_not_depend_on_the_target(checkout: Checkout) -> None:
    """One exhibit reads three seeds, the other one: the records are the same whichever is asked for first."""
    checkout.edit("studies/tiny/loss.yaml", "    cells:", "    seeds: [7]\n    cells:")
    checkout.snakemake("results/figures/tiny/tiny/loss.svg")
    assert len(checkout.made("train")) == 12
    checkout.snakemake()
    assert checkout.made("train") == []


def test_one_cell_has_a_path_of_its_own(built: Checkout) -> None:
    rows = read_tables(sorted((built.results / "records").glob("*.parquet")))
    cell = rows[0]["cell"]
    built.snakemake(f"results/cells/{cell}.parquet", f"results/weights/{cell}-s1.safetensors")
    assert built.made("train") == []
    assert read_tables([built.results / "cells" / f"{cell}.parquet"]) == [row for row in rows if row["cell"] == cell]
    model, masks = so.load_run(built.results / "weights" / f"{cell}-s1.safetensors")
    assert masks.density == pytest.approx(0.3, abs=1e-3)
    for name, mask in masks.items():
        assert (dict(model.named_parameters())[name].detach()[~mask] == 0).all()


def test_rules_use_nothing_that_hides_a_change() -> None:
    for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]:
        text = path.read_text()
        for word in ("ancient(", "touch(", "directory(", "checkpoint "):
            assert word not in text, f"{path.name} uses {word}"


def test_why_names_the_module_that_made_a_target_stale(built: Checkout) -> None:
    assert "everything is up to date" in built.snakemake("why").stderr
    built.edit("sparse_ortho/inits/kaiming.py", "gain: float = 1.4142135623730951", "gain: float = 1.0")
    told = built.snakemake("why").stderr
    assert "code: sparse_ortho.inits.kaiming" in told
    assert "sparse_ortho.inits.eoi" not in told


def test_plan_trains_nothing(checkout: Checkout) -> None:
    told = checkout.snakemake("plan").stderr
    assert "tiny" in told and "nominally" in told
    assert not (checkout.results / "records").exists()


def test_partial_shows_what_is_finished(built: Checkout) -> None:
    shutil.rmtree(built.results / "records")
    entries = sorted((built.results / "store" / "train").glob("*/*"))
    for entry in entries[:3]:
        shutil.rmtree(entry)
    told = built.snakemake("partial").stderr
    assert "tiny/accuracy: 5 of 8 seeds are finished" in told
    assert built.made("train") == []
    assert (built.results / "partial" / "tiny" / "tiny" / "accuracy.md").exists()


def test_environment_of_the_caller_does_not_leak(built: Checkout) -> None:
    assert os.environ.get("SPARSE_ORTHO_SERVE") is None
    assert NOTHING in built.snakemake(OMP_NUM_THREADS="2").stderr
