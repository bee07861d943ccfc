"""How much of a mask takes part: the effective density (Vysogorets, Kempe, "Connectivity Matters", JMLR 2023, arXiv
2107.02306), units that nothing passes, and layers that have collapsed (Tanaka et al., NeurIPS 2020, arXiv 2006.05467).

    effective = weights on a path from the input to the output / N,     wasted = active weights on no path / active ones

Paths are those of the model itself, shortcuts and pooling in place (see `repairs.paths`). A unit is an output of a
layer; it is dead if none of its weights is on a path. `empty` counts layers without an active weight, `severed` those
without one on a path: what a shortcut goes around may be empty while the network is `connected`.
`density/<layer>`, `effective/<layer>` and `dead/<layer>` are the same layer by layer. Not from there: shortcuts.
"""

from __future__ import annotations

import torch
from torch import nn

from sparse_ortho.masks import maskable
from sparse_ortho.measure.subject import Subject
from sparse_ortho.probe import Probe
from sparse_ortho.repairs.paths import Paths


def effective(model: nn.Module, subject: Subject) -> dict[str, float]:
    """Of all maskable weights, by the masks; a layer without a mask is dense."""
    kept = subject.surviving(model)
    shape = tuple(subject(1).shape[1:])
    paths = Paths(Probe(model, {name: weight.detach() for name, weight in maskable(model).items()}, shape=shape))
    alive = paths.on_path(kept)
    active, passing, size = (sum(layers.values()) for layers in (counts(kept), counts(alive), sizes(kept)))
    dead = {name: float((~mask.flatten(1).any(1)).double().mean()) for name, mask in alive.items()}
    units = sum(len(mask) for mask in alive.values())
    found = {
        "density": active / size,
        "effective": passing / size,
        "wasted": 1 - passing / active if active else 0.0,
        "dead": sum(share * len(alive[name]) for name, share in dead.items()) / units,
        "empty": float(sum(not number for number in counts(kept).values())),
        "severed": float(sum(not number for number in counts(alive).values())),
        "connected": float(passing > 0),
    }
    for name, mask in kept.items():
        found[f"density/{name}"] = float(mask.double().mean())
        found[f"effective/{name}"] = float(alive[name].double().mean())
        found[f"dead/{name}"] = dead[name]
    return found


def counts(masks: dict[str, torch.Tensor]) -> dict[str, int]:
    return {name: int(mask.count_nonzero()) for name, mask in masks.items()}


def sizes(masks: dict[str, torch.Tensor]) -> dict[str, int]:
    return {name: mask.numel() for name, mask in masks.items()}
