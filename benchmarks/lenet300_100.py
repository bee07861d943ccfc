"""Whether the engine reaches the published dense LeNet-300-100: 98.69 % on MNIST (sparse_learning's summary file).

The published protocol: the first 54,000 images train, batch 100, 100 epochs, SGD with Nesterov momentum 0.9, weight
decay 5e-4 on everything, lr 0.1 divided by ten after every 25,000 steps, accuracy after the last epoch. Five seeds
through the pipeline itself (a run without a study, so the store keeps what is done); the recorded figure is the 95 %
interval of the difference to the published mean, Student's t over the seeds. Takes some ten minutes on one core.
Run as `python -m benchmarks.lenet300_100`; writes benchmarks/results/lenet300_100.json.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time

from scipy import stats

from benchmarks.recording import record
from sparse_ortho.artifacts import read_tables

PUBLISHED = 98.69
SEEDS = [0, 1, 2, 3, 4]
SETTINGS = (
    ["data=mnist", "model=lenet300_100", "mask=dense", "init=default", f"seeds={SEEDS}"]
    + ["train.epochs=100", "train.batch_size=100", "train.lr=0.1", "train.weight_decay=0.0005"]
    + ["train.schedule=periodic", "train.period=25000it"]
)


def main() -> None:
    started = time.monotonic()
    command = [sys.executable, "-m", "workflow_scripts.run", "--set", *SETTINGS]
    told = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr.splitlines()
    path = told[-1].removeprefix("records: ")
    found = [row["test_accuracy_last"] for row in read_tables([path])]
    difference = statistics.mean(found) - PUBLISHED
    half = stats.t.ppf(0.975, len(found) - 1) * statistics.stdev(found) / math.sqrt(len(found))
    record(
        "lenet300_100",
        {
            "test accuracy of each seed": [round(value, 2) for value in found],
            "mean": round(statistics.mean(found), 3),
            "published": PUBLISHED,
            "difference": round(difference, 3),
            "95 % interval": [round(float(difference - half), 3), round(float(difference + half), 3)],
            "seconds": round(time.monotonic() - started),
        },
    )


if __name__ == "__main__":
    main()
