"""Whether masks chosen before training beat uniform random ones: MNIST, LeNet-300-100, density 0.01.

The protocol is that of study er_lottery at scale laptop: Kaiming's initialisation, ten epochs of SGD with Nesterov
momentum 0.9 and batch 128, learning rate 0.1 with a cosine, weight decay 1e-4; SynFlow in 100 rounds, SNIP in one.
Ten seeds of each mask through the pipeline itself (runs without a study, so the store keeps what is done). Recorded is,
for each mask, the difference to uniform random in test accuracy after the last epoch: Welch's 95 % interval and p, with
Holm's correction over the masks that are compared. Takes some twenty minutes on one core.
Run as `python -m benchmarks.masks_before_training`; writes benchmarks/results/masks_before_training.json.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.recording import record
from sparse_ortho.artifacts import read_tables
from sparse_ortho.report.statistics import difference, holm, summary

BASELINE, MASKS = "uniform", ("snip", "synflow", "erk", "magnitude", "grasp")
SEEDS = list(range(10))
SETTINGS = (
    ["data=mnist", "model=lenet300_100", "init=kaiming", "density=0.01", f"seeds={SEEDS}"]
    + ["train.epochs=10", "train.batch_size=128", "train.lr=0.1", "train.weight_decay=0.0001"]
    + ["train.schedule=cosine"]
)


def main() -> None:
    found = {mask: accuracies(mask) for mask in (BASELINE, *MASKS)}
    gaps = {mask: difference(found[mask], found[BASELINE]) for mask in MASKS}
    adjusted = dict(zip(MASKS, holm([float(gap.p) for gap in gaps.values() if gap.p is not None]), strict=True))
    figures: dict[str, object] = {}
    for mask, values in found.items():
        told = summary(values, len(SEEDS))
        figures[f"{mask}: test accuracy"] = f"{told.mean:.2f} ± {told.half_width:.2f}"
        figures[f"{mask}: test accuracy of each seed"] = [round(value, 2) for value in values]
    for mask, gap in gaps.items():
        ends = [round(float(end), 2) for end in (gap.low, gap.high) if end is not None]
        figures[f"{mask} - {BASELINE}"] = round(statistics.mean(found[mask]) - statistics.mean(found[BASELINE]), 2)
        figures[f"{mask} - {BASELINE}: 95 % interval"] = ends
        figures[f"{mask} - {BASELINE}: p, Welch and Holm"] = float(f"{adjusted[mask]:.2g}")
    record("masks_before_training", figures)


def accuracies(mask: str) -> list[float]:
    """Of ten seeds, in percent, after the last epoch."""
    command = [sys.executable, "-m", "workflow_scripts.run", "--set", f"mask={mask}", *SETTINGS]
    told = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr.splitlines()
    return [row["test_accuracy_last"] for row in read_tables([told[-1].removeprefix("records: ")])]


if __name__ == "__main__":
    main()
