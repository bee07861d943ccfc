"""The loss around a network, along random directions (Li, Xu, Taylor, Studer, Goldstein, NeurIPS 2018, 1712.09913).

    f(a) = L(w + a d),   f(a, b) = L(w + a d + b e),   d and e with the filters' norms, zero off the mask

`alpha/i` are the steps, `loss/i` and `accuracy/i` what is there; of two dimensions `loss/i/j` is at (alpha_i, alpha_j).
The middle step is 0, the network itself. Normalisation keeps its stored statistics.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.measure.directions import Direction, direction
from sparse_ortho.measure.scoring import score
from sparse_ortho.measure.subject import BATCH, Subject

RANGES = {"points": "at least 3", "reach": "above 0", "images": "at least 1"}


def landscape(
    model: nn.Module,
    subject: Subject,
    *,
    dimensions: Literal[1, 2] = 1,
    points: int = 21,
    reach: float = 1.0,
    images: int = 1000,
) -> dict[str, float]:
    """On the first training images; `points` a side, an odd number of them, from -reach to reach."""
    if points < 3 or points % 2 == 0:
        raise UserError("measure.points", "must be odd and at least 3: the middle one is the network", found=points)
    if not reach > 0 or images < 1:
        name, value = ("reach", reach) if not reach > 0 else ("images", images)
        raise UserError(f"measure.{name}", "must be above 0", found=value)
    batches = list(subject.batches("train", images, BATCH))
    masks = subject.surviving(model)
    axes = [direction(model, masks, subject.streams, f"landscape/{i}") for i in range(dimensions)]
    steps = [reach * (2 * i - points + 1) / (points - 1) for i in range(points)]
    found: dict[str, float] = {f"alpha/{i}": step for i, step in enumerate(steps)}
    places = (
        [(i,) for i in range(points)] if dimensions == 1 else [(i, j) for i in range(points) for j in range(points)]
    )
    for place in places:
        moved = shifted(model, axes, [steps[i] for i in place])
        name = "/".join(map(str, place))
        found[f"loss/{name}"], found[f"accuracy/{name}"] = score(model, moved, batches, subject.loss)
    centre = "/".join(str(points // 2) for _ in axes)
    return {"loss": found[f"loss/{centre}"], "accuracy": found[f"accuracy/{centre}"]} | found


def shifted(model: nn.Module, axes: list[Direction], steps: list[float]) -> Direction:
    """The maskable weights that far along the directions."""
    return {
        name: weight.detach() + sum(step * axis[name] for step, axis in zip(steps, axes, strict=True))
        for name, weight in maskable(model).items()
    }
