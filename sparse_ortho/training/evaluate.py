"""Loss and accuracy (percent) of a model on parts of the data, without gradients and in evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from sparse_ortho.training.losses import cross_entropy, logits_of
from sparse_ortho.training.resident import Split

BATCH = 1000
Score = tuple[float | None, float | None]


def evaluate(model: torch.nn.Module, splits: Mapping[str, Split]) -> dict[str, Score]:
    """(mean loss, accuracy) of every part with one synchronisation; an empty part has neither."""
    training = model.training
    model.eval()
    with torch.inference_mode():
        scores = [batch_score(model(x), y) for split in splits.values() for x, y in split.slices(BATCH)]
        losses, correct = torch.stack([torch.stack(score) for score in scores]).T.tolist() if scores else ([], [])
    model.train(training)
    result: dict[str, Score] = {}
    for name, split in splits.items():
        batches = -(-len(split) // BATCH)
        result[name] = mean_score(losses[:batches], correct[:batches], len(split))
        losses, correct = losses[batches:], correct[batches:]
    return result


def batch_score(outputs: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits_of(outputs)
    loss = cross_entropy(logits, y, reduction="sum")
    return loss, (logits.argmax(1) == y).sum().to(loss.dtype)


def mean_score(loss_sums: list[float], correct: list[float], images: int) -> Score:
    """A part whose loss is not finite has no accuracy either: argmax of NaN is always class 0."""
    if not images:
        return None, None
    loss = total(loss_sums) / images
    return (loss, 100.0 * sum(correct) / images) if math.isfinite(loss) else (loss, None)


def total(values: list[float]) -> float:
    """The exactly rounded sum, or NaN when a value is not finite."""
    return math.fsum(values) if all(map(math.isfinite, values)) else math.nan
