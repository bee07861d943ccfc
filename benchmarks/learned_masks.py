"""Whether learned masks do on MNIST what is claimed for them, with LeNet-300-100 and a random mask of density 0.5.

Edge-popup: a network of random signed constants, of which it keeps a fifth, passes 90 % without a trained weight. Soft
thresholds: asked for a density of 0.05, a training ends within 10 % of it, relative. Ten epochs, batch 128, SGD with
Nesterov momentum 0.9, cosine; three seeds each through the pipeline itself (a run without a study, so the store keeps
what is done). Takes some twenty minutes on one core, most of them the trainings of the search.
Run as `python -m benchmarks.learned_masks`; writes benchmarks/results/learned_masks.json.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from benchmarks.recording import record
from sparse_ortho.artifacts import read_tables

SEEDS = [0, 1, 2]
SHARED = (
    ["data=mnist", "model=lenet300_100", "mask=uniform", "density=0.5", f"seeds={SEEDS}"]
    + ["train.epochs=10", "train.batch_size=128", "train.schedule=cosine"]
)  # fmt: skip
POPUP = ["init=binary", "train.lr=0.3", "rule={name: edge_popup, final_density: 0.2}"]
THRESHOLDS = ["init=kaiming", "train.lr=0.1", "rule={name: soft_threshold, target_density: 0.05}"]
WANTED = 90.0
TARGET, RELATIVE = 0.05, 0.1


def main() -> None:
    started = time.monotonic()
    popup, thresholds = rows(POPUP), rows(THRESHOLDS)
    accuracies = [row["test_accuracy_last"] for row in popup]
    densities = [row["density"] for row in thresholds]
    record(
        "learned_masks",
        {
            "edge-popup: test accuracy of each seed": [round(value, 2) for value in accuracies],
            "edge-popup: density of each seed": [round(row["density"], 5) for row in popup],
            f"edge-popup: all above {WANTED:g} %": min(accuracies) > WANTED,
            "soft thresholds: density of each seed": [round(value, 5) for value in densities],
            "soft thresholds: test accuracy of each seed": [round(row["test_accuracy_last"], 2) for row in thresholds],
            f"soft thresholds: all within {RELATIVE:.0%} of {TARGET}": all(
                abs(density - TARGET) <= RELATIVE * TARGET for density in densities
            ),
            "seconds": round(time.monotonic() - started),
        },
    )


def rows(settings: list[str]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "workflow_scripts.run", "--set", *SHARED, *settings]
    told = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr.splitlines()
    return read_tables([told[-1].removeprefix("records: ")])


if __name__ == "__main__":
    main()
