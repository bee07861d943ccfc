"""One training job started at once on two machines, or what passes for two, which share a store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparse_ortho.plan.workflow import Plan
from tests.conftest import Checkout

EPOCHS = 30  # of the tiny study: a seed takes a second or so, so that the machines meet


def tiny_job(checkout: Checkout) -> tuple[str, list[str]]:
    """A training job of all cells of the finished tiny study, and the words that say what it reads."""
    checkout.edit("studies/tiny/study.yaml", "epochs: 2", f"epochs: {EPOCHS}")
    plan = Plan({"studies": ["tiny"], "scale": "tiny", "device": "cpu", "bundle": 2}, checkout.folder)
    text = checkout.folder / "job.json"
    bundles = list(plan.bundles("tiny", "train"))
    whole = Plan({"studies": ["tiny"], "scale": "tiny", "device": "cpu", "bundle": 16}, checkout.folder)
    [name] = whole.bundles("tiny", "train")
    text.write_text(whole.job("train", name))
    read = {role: sorted({f for b in bundles for f in plan.inputs("train", b, role)}) for role in ("data", "init")}
    return name, ["--job", f"@{text}", "--data", *read["data"], "--inits", *read["init"]]


def both(
    checkout: Checkout, words: Sequence[str], machines: Mapping[str, Sequence[str]], stores: Mapping[str, Path]
) -> dict[str, bytes]:
    """The job on both; what each of them recorded. `machines` are the words that start a program on one."""
    env = checkout.env(SPARSE_ORTHO_CLAIMS="files", OMP_NUM_THREADS="1")
    running = {}
    for name, start in machines.items():
        out = checkout.folder / name
        program = [sys.executable, "-m", "workflow_scripts.train", *words, "--store", str(stores[name])]
        program += ["--records", f"{out}.parquet", "--curves", f"{out}-curves.parquet", "--log", f"{out}.log"]
        running[name] = subprocess.Popen(
            [*start, *program], cwd=checkout.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    for process in running.values():
        told, _ = process.communicate(timeout=600)
        assert process.returncode == 0, told.decode()
    return {name: (checkout.folder / f"{name}.parquet").read_bytes() for name in machines}


def events(store: Path) -> dict[tuple[str, int], Counter[str]]:
    """What happened to each seed of a training, counted by the store's own log."""
    found: dict[tuple[str, int], Counter[str]] = {}
    for line in (store / "log.jsonl").read_text().splitlines():
        told: dict[str, Any] = json.loads(line)
        if told["stage"] == "train":
            found.setdefault((told["cell"], told["seed"]), Counter())[told["event"]] += 1
    return found


def can_mount() -> bool:
    """Whether a process here may have mounts of its own: it takes root, and no container that forbids it."""
    own = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    try:
        return os.geteuid() == 0 and subprocess.run(own, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
