"""What a metric's name means, how many digits it is read with, and which end of it is good."""

from __future__ import annotations

from dataclasses import dataclass

MEANINGS = {
    "test_accuracy_last": "test accuracy in percent after the last epoch",
    "test_accuracy_best_validation": "test accuracy in percent at the epoch of the best validation accuracy",
    "test_accuracy_max": "test accuracy in percent, maximum over epochs on test (selection on test)",
    "test_accuracy": "test accuracy in percent",
    "validation_accuracy_last": "validation accuracy in percent after the last epoch",
    "validation_accuracy_best": "validation accuracy in percent, maximum over epochs",
    "validation_accuracy": "validation accuracy in percent",
    "train_accuracy": "training accuracy in percent",
    "train_accuracy_last": "training accuracy in percent of the last epoch",
    "train_loss_last": "training loss of the last epoch",
    "test_loss_last": "test loss after the last epoch",
    "train_loss": "training loss",
    "validation_loss": "validation loss",
    "test_loss": "test loss",
    "density": "density: the fraction of the maskable weights that is kept",
    "nonzeros": "number of weights kept",
    "weights": "number of maskable weights",
    "best_epoch": "epoch of the best validation accuracy",
    "epochs": "epochs trained",
    "steps": "optimizer steps taken",
    "lr": "learning rate",
}


@dataclass(frozen=True)
class Metric:
    name: str
    meaning: str
    digits: int | None  # decimals; None is four significant digits
    better: int  # +1: high is good, -1: low is good, 0: neither, so nothing is bold


def metric(name: str) -> Metric:
    meaning = MEANINGS.get(name, name.replace("_", " "))
    if "accuracy" in name:
        return Metric(name, meaning, 1, 1)
    if "loss" in name or "error" in name:
        return Metric(name, meaning, None, -1)
    return Metric(name, meaning, None, 0)
