"""What a user can get wrong ends in one clear sentence, a non-zero status, and nothing half-written."""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.plan.workflow import Plan
from tests.conftest import ROOT, Checkout

CONFIG = {"studies": ["tiny"], "scale": "tiny", "device": "cpu"}
STUDY, TABLE = "studies/tiny/study.yaml", "studies/tiny/accuracy.yaml"

# file, text to replace, replacement, words that the sentence must hold
MISTAKES = {
    "unknown key of a cell": (STUDY, "data: digits", "dta: digits", ["dta", "did you mean 'data'"]),
    "misspelt data set": (STUDY, "data: digits", "data: digit", ["data", "'digit'", "did you mean 'digits'"]),
    "misspelt model": (STUDY, "name: mlp", "name: mpl", ["model", "'mpl'", "mlp"]),
    "misspelt option of a model": (STUDY, "width: 16", "widht: 16", ["model.widht", "did you mean 'width'"]),
    "word where a number belongs": (STUDY, "width: 16", "width: wide", ["model.width", "'wide'", "integer"]),
    "misspelt training option": (STUDY, "epochs: 2", "epoch: 2", ["train.epoch", "did you mean 'epochs'"]),
    "fraction of an epoch": (STUDY, "epochs: 2", "epochs: 2.5", ["train.epochs", "2.5"]),
    "misspelt initialisation": (TABLE, "eoi", "eio", ["init", "'eio'", "did you mean 'eoi'"]),
    "misspelt mask": (TABLE, "erk", "unifrom", ["mask", "'unifrom'", "did you mean 'uniform'"]),
    "density above 1": (TABLE, "density: 0.3", "density: 1.3", ["density", "1.3", "(0, 1]"]),
    "density 0": (TABLE, "density: 0.3", "density: 0", ["density", "(0, 1]"]),
    "density in per cent": (TABLE, "density: 0.3", "density: 30", ["density", "30", "(0, 1]"]),
    "density as a word": (TABLE, "density: 0.3", "density: low", ["density", "'low'", "(0, 1]"]),
    "density missing": (TABLE, "density: 0.3, ", "", ["density", "required"]),
    "dense with a density": (TABLE, "mask: [uniform, erk]", "mask: dense", ["density", "dense"]),
    "empty list": (TABLE, "[kaiming, eoi]", "[]", ["init", "empty"]),
    "unknown kind of exhibit": (TABLE, "kind: table", "kind: tabel", ["kind", "'tabel'", "did you mean 'table'"]),
    "unknown key of an exhibit": (TABLE, "columns: [init]", "colums: [init]", ["colums", "did you mean 'columns'"]),
    "unknown axis": (TABLE, "rows: [mask]", "rows: [maks]", ["'maks'", "did you mean 'mask'"]),
    "exhibit at an unknown scale": (TABLE, "  tiny:", "  tny:", ["scales", "'tny'", "tiny"]),
    "negative seed": (STUDY, "seeds: [0, 1]", "seeds: [0, -1]", ["seeds", "-1"]),
    "no seeds": (STUDY, "seeds: [0, 1]", "seeds: []", ["seeds"]),
    "key twice": (STUDY, "    seeds: [0, 1]", "    seeds: [0, 1]\n    seeds: [2]", ["study.yaml", "line", "twice"]),
    "broken YAML": (STUDY, "seeds: [0, 1]", "seeds: [0, 1", ["study.yaml", "line", "not valid YAML"]),
    "title missing": (STUDY, "title: Tiny\n", "", ["study.yaml", "title", "required"]),
    "unknown purpose of a seed": (
        TABLE,
        "density: 0.3",
        "density: 0.3, fixed_seeds: {msk: 1}",
        ["msk", "did you mean 'mask'"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_study_is_one_sentence(mistake: str, checkout: Checkout) -> None:
    file, old, new, words = MISTAKES[mistake]
    checkout.edit(file, old, new)
    with pytest.raises(UserError) as caught:
        plan = Plan(CONFIG, checkout.folder)
        plan.targets()
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence, f"{word!r} is not in: {sentence}"


SETTINGS = {
    "scale=quikc": ["scale", "'quikc'", "tiny"],
    "studies=nothing": ["studies"],
    "studies=[tiyn]": ["studies", "'tiyn'", "did you mean 'tiny'"],
    "bundle=0": ["bundle", "0"],
    "bundle=many": ["bundle", "'many'"],
    "device=gpu": ["device", "'gpu'", "cuda"],
    "stor=false": ["stor", "did you mean 'store'"],
    "checkpoint=-1": ["checkpoint", "-1"],
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_mistake_on_the_command_line_is_one_sentence_of_snakemake(setting: str, checkout: Checkout) -> None:
    done = checkout.snakemake("--config", setting, ok=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    for word in SETTINGS[setting]:
        assert word in sentence, f"{word!r} is not in: {sentence}"
    assert not checkout.results.exists()


def test_an_unknown_artifact_is_one_sentence(checkout: Checkout) -> None:
    done = checkout.snakemake("results/cells/digits-mlp-erk-eio-d0.3-000000000000.parquet", ok=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "no such cell" in done.stderr


def mnist_study(checkout: Checkout) -> None:
    checkout.edit(STUDY, "data: digits", "data: mnist")


def one_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, done.stderr
    return errors[0]


def test_missing_data_names_the_files_and_the_variable(checkout: Checkout, tmp_path: Path) -> None:
    """No folder of originals and every mirror out of reach (a proxy that refuses)."""
    mnist_study(checkout)
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    sentence = one_error(checkout.snakemake(ok=False, **nowhere))
    assert "SPARSE_ORTHO_DATA" in sentence and "ubyte.gz" in sentence
    assert not (checkout.results / "data").exists() or not list((checkout.results / "data").iterdir())


def test_a_data_folder_that_does_not_exist_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    mnist_study(checkout)
    sentence = one_error(checkout.snakemake(ok=False, SPARSE_ORTHO_DATA=str(tmp_path / "nowhere")))
    assert "SPARSE_ORTHO_DATA" in sentence and "nowhere" in sentence


def test_corrupted_data_is_refused_with_its_path(checkout: Checkout, tmp_path: Path) -> None:
    mnist_study(checkout)
    folder = tmp_path / "originals" / "mnist"
    folder.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(b"not these", mtime=0))
    sentence = one_error(checkout.snakemake(ok=False, SPARSE_ORTHO_DATA=str(folder.parent)))
    assert "ubyte.gz" in sentence and "sha256" in sentence.lower().replace("-", "")


def test_a_density_out_of_reach_is_refused_before_any_job() -> None:
    """Seven layers of 64, 64, ..., 10: EOI needs a weight in each of 6 x 64 + 10 rows of 25,216 weights."""
    from sparse_ortho.plan.identity import resolve_cell
    from sparse_ortho.plan.shapes import refuse_unreachable

    model = {"name": "mlp", "depth": 7, "width": 64}
    raw = {"data": "digits", "model": model, "mask": "erk", "init": "eoi", "density": 0.01}
    with pytest.raises(UserError, match=r"needs 394 of 25216 weights.*0\.01.*0\.0156"):
        refuse_unreachable(resolve_cell(raw, "here"), "here")
    refuse_unreachable(resolve_cell(raw | {"density": 0.0157}, "here"), "here")


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(checkout: Checkout) -> None:
    """Every file is limited to 4 kB, which the kernel reports like a full disk."""

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    job = subprocess.run(
        [
            sys.executable,
            "-m",
            "workflow_scripts.plan",
            "--set",
            "studies=[tiny]",
            "scale=tiny",
            "--job",
            f"data/{data_id(checkout)}",
        ],
        cwd=checkout.folder,
        env=checkout.env(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    output = checkout.results / "data" / "digits.safetensors"
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.data", "--job", job, "--output", str(output)],
        cwd=checkout.folder,
        env=checkout.env(),
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert "no space left" in one_error(done)
    assert done.returncode == 2
    assert list(output.parent.iterdir()) == []


def data_id(checkout: Checkout) -> str:
    return next(iter(Plan(CONFIG, checkout.folder).bundles("tiny", "data")))


def test_a_full_file_system_is_one_sentence(checkout: Checkout, tmp_path: Path) -> None:
    """A real one: a tmpfs of 64 kB for the store."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        sentence = one_error_of_many(checkout.snakemake(ok=False, SPARSE_ORTHO_STORE=str(small)))
        assert "no space left" in sentence
        assert not list((checkout.results / "records").glob("*.parquet"))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    checkout.snakemake()


def one_error_of_many(done: subprocess.CompletedProcess[str]) -> str:
    """Several jobs may meet the same full disk; each says so in one sentence."""
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert errors, done.stderr
    return errors[0]


def test_every_program_has_help() -> None:
    for path in sorted((ROOT / "workflow_scripts").glob("[a-z]*.py")):
        words = [sys.executable, "-m", f"workflow_scripts.{path.stem}", "--help"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env={**os.environ})
        assert done.returncode == 0 and "usage:" in done.stdout, path.name
        assert len(path.read_text().splitlines()) <= 35, f"{path.name} is no thin program"


def test_a_job_for_other_code_is_refused(checkout: Checkout) -> None:
    words = ["--set", "studies=[tiny]", "scale=tiny", "--job", f"data/{data_id(checkout)}"]
    program = [sys.executable, "-m"]
    text = subprocess.run(
        [*program, "workflow_scripts.plan", *words],
        cwd=checkout.folder,
        env=checkout.env(),
        capture_output=True,
        text=True,
    ).stdout.strip()
    checkout.edit("sparse_ortho/data/digits.py", '"split"', '"spl" + "it"')
    done = subprocess.run(
        [*program, "workflow_scripts.data", "--job", text, "--output", "x.safetensors"],
        cwd=checkout.folder,
        env=checkout.env(),
        capture_output=True,
        text=True,
    )
    assert "the code changed" in one_error(done)
    assert not (checkout.folder / "x.safetensors").exists()
