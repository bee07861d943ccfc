"""Loss and accuracy (percent) of a model on parts of the data, without gradients and in evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from sparse_ortho.training.losses import cross_entropy, logits_of
from sparse_ortho.training.ranks import Alone
from sparse_ortho.training.resident import Split

BATCH, NUMBERS = 1000, 1 << 24  # images a batch, fewer of large ones: 64 MB of float32
Score = tuple[float | None, float | None]


def evaluate(model: torch.nn.Module, splits: Mapping[str, Split], ranks: Alone | None = None) -> dict[str, Score]:
    """(mean loss, accuracy) of every part with one synchronisation; an empty part has neither."""
    ranks = ranks or Alone()
    sizes = {name: batch_size(split) for name, split in splits.items()}
    batches = {name: -(-len(split) // sizes[name]) for name, split in splits.items()}
    training, device = model.training, next(iter(splits.values())).y.device
    model.eval()
    with torch.inference_mode():
        parts = [split.slices(sizes[name], ranks.rank, ranks.size) for name, split in splits.items()]
        scores = [torch.stack(batch_score(model(x), y)) for part in parts for x, y in part]
        losses, correct = ranks.merged(scores, list(batches.values()), device).T.tolist()
    model.train(training)
    result: dict[str, Score] = {}
    for name, split in splits.items():
        result[name] = mean_score(losses[: batches[name]], correct[: batches[name]], len(split))
        losses, correct = losses[batches[name] :], correct[batches[name] :]
    return result


def batch_size(split: Split) -> int:
    return max(1, min(BATCH, NUMBERS // max(1, math.prod(split.shape))))


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
