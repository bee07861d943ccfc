"""How much the channels of a network are about single classes (Dettmers, Zettlemoyer, "Sparse Networks from Scratch",
2019, arXiv 1907.04840; the figures of their feature analysis).

    A_kc = sum of |activation| of channel k over images of class c and over space,   A_k = sum_c A_kc
    left out: the channels of least A_k that together have less than 5 % of their layer
    specialisation of channel k = max_c A_kc / A_k        1: one class only,  1 / C: all classes alike

on training images, after the activation of every layer. `specialisation/<activation>/k` has every channel that is left.
Not from the paper: hidden units of linear layers are channels too, the released program has convolutions only; one pass
adds up by label where it makes one a class.
"""

from __future__ import annotations

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.measure.subject import BATCH, Subject
from sparse_ortho.measure.watching import watch

RANGES = {"images": "at least 1", "tail": "[0, 1]"}


def features(model: nn.Module, subject: Subject, *, images: int = 10_000, tail: float = 0.05) -> dict[str, float]:
    """The mean over all channels, over each layer's, and every channel's; `density/<activation>` of the activations."""
    if not 0 <= tail < 1 or images < 1:
        name, value = ("images", images) if images < 1 else ("tail", tail)
        raise UserError(f"measure.{name}", "out of range", found=value)
    batches = list(subject.batches("train", images, BATCH))
    classes = 1 + max(int(y.max()) for _, y in batches)
    parts: dict[str, torch.Tensor] = {}
    active: dict[str, list[int]] = {}

    def seen(name: str, output: torch.Tensor, labels: torch.Tensor) -> None:
        sums = output.abs().flatten(2).double().sum(2) if output.ndim > 2 else output.abs().double()
        table = parts.setdefault(name, sums.new_zeros(classes, sums.shape[1]))
        table.index_add_(0, labels, sums)
        counts = active.setdefault(name, [0, 0])
        counts[0] += int(output.count_nonzero())
        counts[1] += output.numel()

    watch(model, batches, seen)
    values = {name: specialisation(table.T, tail) for name, table in parts.items()}
    values = {name: found for name, found in values.items() if len(found)}
    if not values:
        raise UserError("measure.features", "no channel of any layer is ever active")
    found = {"specialisation": float(torch.cat(list(values.values())).mean()), "classes": float(classes)}
    for name, layer in values.items():
        found |= {f"mean/{name}": float(layer.mean()), f"density/{name}": active[name][0] / active[name][1]}
        found |= {f"specialisation/{name}/{k}": value for k, value in enumerate(layer.tolist())}
    return found


def specialisation(table: torch.Tensor, tail: float) -> torch.Tensor:
    """Of the channels (rows) of a table of channels by classes that are not in the tail, in their order."""
    totals = table.sum(1)
    if not totals.sum() > 0:
        return totals[:0]
    rank = totals.argsort(stable=True)
    below = (totals[rank] / totals.sum()).cumsum(0) < tail
    left = torch.ones_like(totals, dtype=torch.bool)
    left[rank[below]] = False
    left &= totals > 0
    return table[left].amax(1) / totals[left]
