"""What is left of a trained network when its smallest weights are set to 0, without any tuning after it.

    the budget(density, N) largest |w| stay, N all maskable weights;   of all layers together, or each layer its share

It is what the rule `end_pruning` with `stop: 1.0` ends with, but the training is that of the cell in the store: a sweep
of densities trains one network (`at: end`). Han, Pool, Tran, Dally (NeurIPS 2015) prune so before they tune. Of a cell
with masks only active weights are looked at. `accuracy` and `loss` are of all test images, `kept` is the number of
weights. `even` shares by the size of a layer, in proportion and by largest remainder, as the rule does.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from sparse_ortho.budgets import budget, fill
from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable, select
from sparse_ortho.measure.scoring import score
from sparse_ortho.measure.subject import BATCH, Subject

RANGES = {"density": "(0, 1]"}
ALL = 1 << 40  # images; a part has fewer


def pruned(
    model: nn.Module, subject: Subject, *, density: float = 0.1, scope: Literal["global", "even"] = "global"
) -> dict[str, float]:
    """Loss and accuracy on the test images, and how many weights are left."""
    weights = {name: weight.detach() for name, weight in maskable(model).items()}
    among = subject.surviving(model)
    active = {name: int(mask.count_nonzero()) for name, mask in among.items()}
    total = budget(density, sum(mask.numel() for mask in among.values()), "measure.density")
    if total > sum(active.values()):
        problem = f"is above what the network has, {sum(active.values())} of {sum(w.numel() for w in weights.values())}"
        raise UserError("measure.density", problem, found=density)
    sizes = {name: float(weight.numel()) for name, weight in weights.items()}
    counts = fill(sizes, active, total) if scope == "even" else total
    kept = select({name: weight.abs() for name, weight in weights.items()}, counts, among)
    left = {name: weight * kept[name] for name, weight in weights.items()}
    loss, accuracy = score(model, left, list(subject.batches("test", ALL, BATCH)), subject.loss)
    return {"loss": loss, "accuracy": accuracy, "kept": float(total)}
