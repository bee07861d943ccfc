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
    "exploration": "share of the maskable weights that were active at some time",
    "mask_change": "share of the active weights that were not active one epoch before",
    "nonzeros": "number of weights kept",
    "weights": "number of maskable weights",
    "free_parameters": "number of values that tied weights take",
    "explored": "number of weights that were active at some time",
    "empty_units": "number of outputs without weights",
    "extra_parameters": "parameters that a trick trained besides the network",
    "extra_parameters_kept": "parameters of a trick that the evaluated network still has",
    "level": "levels of training and pruning below the network",
    "best_epoch": "epoch of the best validation accuracy",
    "epochs": "epochs trained",
    "steps": "optimizer steps taken",
    "lr": "learning rate",
    "ticket.density": "density: the fraction of the prunable weights that is left",
    "ticket.levels": "levels of training and pruning",
    "effective": "effective density: the share of the weights on a path",
    "wasted": "share of the active weights on no path",
    "dead": "share of units that nothing passes",
    "paths": "log10 of the number of paths",
    "gap": "spectral gap, mean of the layers",
    "gap_min": "spectral gap, least of the layers",
    "flops_share": "multiply-adds as a share of the dense network's",
}
SHORT = {"exploration": "explored", "mask_change": "new since last epoch", "lr": "learning rate"}


@dataclass(frozen=True)
class Metric:
    name: str
    meaning: str
    digits: int | None  # decimals; None is four significant digits
    better: int  # +1: high is good, -1: low is good, 0: neither, so nothing is bold


def short(name: str) -> str:
    """What an axis says that has room for a word or two."""
    return SHORT.get(name, name.replace("_", " "))


def metric(name: str) -> Metric:
    meaning = MEANINGS.get(name, name.replace("_", " "))
    if "accuracy" in name:
        return Metric(name, meaning, 1, 1)
    if "loss" in name or "error" in name:
        return Metric(name, meaning, None, -1)
    return Metric(name, meaning, None, 0)
