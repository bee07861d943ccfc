"""The straight line between two trainings (Frankle, Dziugaite, Roy, Carbin, "Linear Mode Connectivity and the Lottery
Ticket Hypothesis", ICML 2020, arXiv 1912.05671).

    w(t) = (1 - t) w_0 + t w_1,    barrier = max_t [ L(w(t)) - (1 - t) L(w_0) - t L(w_1) ]

w_0 is this seed's network, w_1 the next seed's of the same cell (after the last comes the first), each with zeros off
its own mask, so between the ends the union of both masks is used; `union` is its density, `overlap` intersection over
union. The network's other parameters go along. Not from the paper: normalisation's statistics are estimated anew at
every t from the same training images, because means and variances between two networks are those of neither
(`statistics: stored` takes them as they are, on the line).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.measure.jacobian import evaluating
from sparse_ortho.measure.scoring import score
from sparse_ortho.measure.subject import BATCH, Batch, Subject

RANGES = {"points": "at least 3", "images": "at least 1"}
PAIR = True  # the stage hands over the next seed's network, read by the plan
NORM = nn.modules.batchnorm._BatchNorm


def connectivity(
    model: nn.Module,
    subject: Subject,
    *,
    points: int = 11,
    images: int = 1000,
    statistics: Literal["anew", "stored"] = "anew",
) -> dict[str, float]:
    """Loss and accuracy on training and on test images at `points` places `t`, and the barriers."""
    if points < 3 or images < 1:
        name, value, least = ("points", points, 3) if points < 3 else ("images", images, 1)
        raise UserError(f"measure.{name}", f"must be at least {least}", found=value)
    assert subject.other is not None  # PAIR says so
    other, masks = subject.other()
    ends = [{name: value.detach().clone() for name, value in net.state_dict().items()} for net in (model, other)]
    parts = {name: list(subject.batches(name, images, BATCH)) for name in ("train", "test")}
    places = [i / (points - 1) for i in range(points)]
    found: dict[str, float] = {f"t/{i}": t for i, t in enumerate(places)}
    for i, t in enumerate(places):
        model.load_state_dict(between(ends[0], ends[1], t))
        if statistics == "anew":
            estimate(model, parts["train"])
        for part, batches in parts.items():
            loss, accuracy = score(model, {}, batches, subject.loss)
            found |= {f"{part}_loss/{i}": loss, f"{part}_accuracy/{i}": accuracy}
    model.load_state_dict(ends[0])
    curves = {name: [found[f"{name}/{i}"] for i in range(points)] for name in ("train_loss", "test_loss")}
    curves |= {f"{part}_accuracy": [-found[f"{part}_accuracy/{i}"] for i in range(points)] for part in parts}
    told = {f"barrier_{name}": barrier(values, places) for name, values in curves.items()}
    return told | shared(subject.surviving(model), masks) | found


def between(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], t: float) -> dict[str, torch.Tensor]:
    """(1 - t) left + t right of everything that is a real number; a counter stays the left one's."""
    return {name: a.lerp(right[name], t) if a.is_floating_point() else a for name, a in left.items()}


def barrier(values: Sequence[float], places: Sequence[float]) -> float:
    """How far the curve rises above the line between its ends; 0 where it never does, as the ends are on it."""
    first, last = values[0], values[-1]
    return max(value - (1 - t) * first - t * last for value, t in zip(values, places, strict=True))


def shared(left: dict[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Density of the union of two networks' masks, and intersection over union."""
    pairs = [(mask, right.get(name, torch.ones_like(mask))) for name, mask in left.items()]
    both, either = (sum(int(op(a, b).sum()) for a, b in pairs) for op in (torch.logical_and, torch.logical_or))
    return {"union": either / sum(mask.numel() for mask, _ in pairs), "overlap": both / either if either else 0.0}


def estimate(model: nn.Module, batches: Sequence[Batch]) -> None:
    """The statistics of normalisation as the mean over the batches, in place."""
    norms = [module for module in model.modules() if isinstance(module, NORM) and module.track_running_stats]
    kept = [module.momentum for module in norms]
    with torch.no_grad(), evaluating(model):
        for module in norms:
            module.reset_running_stats()
            module.momentum = None  # the plain mean
            module.train()
        for x, _ in batches if norms else ():
            if len(x) > 1:  # of one image nothing has a variance
                model(x)
    for module, momentum in zip(norms, kept, strict=True):
        module.momentum = momentum
