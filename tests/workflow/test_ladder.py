"""A ladder on real Snakemake: every training once, a level more is one training more, and after a kill it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml

from tests.conftest import Checkout, copy_sources

CELL = {"data": "digits", "model": {"name": "mlp", "depth": 3, "width": 16, "activation": "relu"}, "init": "kaiming"}
WORDS = {"title": "A", "caption": "B.", "category": "C", "kind": "outcomes", "x": "ticket.density"}
WORDS |= {"hue": "ticket.kind", "quantities": ["test_accuracy_last"]}


KINDS = ("tickets", "records", "curves", "figures")
SIZE = 64 * 16 + 16 * 16 + 16 * 10


def ladder(folder: Path) -> Checkout:
    """A study with two levels beside the dense network; a checkpoint after every step."""
    folder.mkdir()
    made = copy_sources(folder)
    made.edit("config.yaml", "bundle: 2", "bundle: 16")
    tiny = folder / "studies" / "tiny"
    for name in ("accuracy", "loss"):
        (tiny / f"{name}.yaml").unlink()
    cell = CELL | {"train": {"epochs": 40, "batch_size": 128, "lr": 0.05}}
    study = {"title": "t", "paper": "p", "scales": {"tiny": {"seeds": [0], "cell": cell}}}
    (tiny / "study.yaml").write_text(yaml.safe_dump(study))
    climb(made, 2)
    return made


def climb(checkout: Checkout, levels: int) -> None:
    rungs = {"ticket.rate": 0.5, "ticket.kind": "lt", "ticket.levels": list(range(1, levels + 1))}
    exhibit = WORDS | {"scales": {"tiny": {"cells": [{}, rungs]}}}
    (checkout.folder / "studies" / "tiny" / "ladder.yaml").write_text(yaml.safe_dump(exhibit))


def trained(checkout: Checkout) -> Counter[str]:
    """What happened to trainings since the last time asked."""
    return Counter(e["event"] for e in checkout.events() if e["stage"] == "train")


def records(checkout: Checkout) -> Any:
    rows = pandas.concat([pandas.read_parquet(path) for path in (checkout.results / "records").glob("*.parquet")])
    return rows.sort_values("density", ascending=False).reset_index(drop=True)


def python(checkout: Checkout, *words: str) -> str:
    command = [str(Path(checkout.command()[0]).parent / "python"), *words]
    done = subprocess.run(command, cwd=checkout.folder, env=checkout.env(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, dict[str, bytes]]:
    made = ladder(tmp_path_factory.mktemp("two") / "checkout")
    shutil.copytree(made.folder, made.folder.with_name("broken"))
    made.snakemake()
    return made, made.contents(*KINDS)


def test_a_level_more_trains_one_network_more(built_once: tuple[Checkout, dict[str, bytes]]) -> None:
    two, _ = built_once
    made = [f"{e['cell']} {e['seed']}" for e in two.events() if e["event"] == "made" and e["stage"] == "train"]
    assert len(made) == len(set(made)) == 3, "the dense network and two levels, each once"
    rows = records(two)
    assert list(rows["nonzeros"]) == [SIZE, SIZE // 2, SIZE // 4] and set(rows["status"]) == {"ok"}
    assert list(rows["density"]) == [1, 0.5, 0.25] and list(rows["level"].fillna(0)) == [0, 1, 2]
    shown: Any = pandas.read_csv(two.results / "figures/tiny/tiny/ladder.csv").set_index("ticket.density")
    for _, row in rows.iterrows():
        assert shown.loc[row["density"], "mean"] == row["test_accuracy_last"]

    assert "Nothing to be done" in two.snakemake().stderr and not two.events()
    climb(two, 3)
    path = f"results/weights/{rows['cell'][1]}-s0.safetensors"
    two.snakemake("all", path)
    assert trained(two)["made"] == 1
    assert list(records(two)["nonzeros"]) == [SIZE, SIZE // 2, SIZE // 4, SIZE // 8]
    told = python(two, "-c", f"import sparse_ortho as so; print(so.load_run({path!r})[1].nonzeros)")
    assert told == f"{SIZE // 2}\n", "a finished ticket is a network like any other"


def test_the_store_knows_a_ladder_and_what_is_forgotten_comes_back(
    built_once: tuple[Checkout, dict[str, bytes]],
) -> None:
    two, _ = built_once
    assert "ticket" in python(two, "-m", "workflow_scripts.store", "size")
    assert "0 entries of the store and 0 artifacts" in python(two, "-m", "workflow_scripts.store", "gc")
    before = two.contents(*KINDS)
    two.events()
    python(two, "-m", "workflow_scripts.store", "forget", records(two)["cell"][1])
    two.snakemake()
    assert trained(two)["made"] == 1, "its level, and neither the one below nor the one above"
    assert two.contents(*KINDS) == before


def test_a_ladder_killed_in_the_middle_goes_on_to_the_same_bytes(
    built_once: tuple[Checkout, dict[str, bytes]],
) -> None:
    broken = Checkout(built_once[0].folder.with_name("broken"))
    process = subprocess.Popen(
        broken.command(), cwd=broken.folder, env=broken.env(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    log, started, deadline = broken.results / "store" / "log.jsonl", list[dict[str, Any]](), time.monotonic() + 300
    while time.monotonic() < deadline:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        started = [e for e in lines if e["stage"] == "train" and e["event"] == "started"]
        saved = {path.parent.name for path in broken.results.glob("store/checkpoints/train/*/checkpoint.safetensors")}
        if len(started) == 2 and started[1]["key"] in saved:  # level 0 is trained, level 1 has a checkpoint
            break
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    os.kill(started[1]["pid"], signal.SIGKILL)
    process.wait(timeout=300)
    assert process.returncode != 0
    broken.events()
    broken.snakemake()
    assert trained(broken) == {"resumed": 1, "started": 1, "made": 2, "served": 2}, "level 0 is there already"
    assert broken.contents(*KINDS) == built_once[1]
