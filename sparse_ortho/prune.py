"""From scores to masks: score every weight, share the budget among the layers, keep exactly the best.

`layers` says who competes: "global" puts all weights in one list, the name of a density scheme gives each layer its own
count, a mapping gives each layer its own density.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from sparse_ortho import budgets, masks
from sparse_ortho.errors import UserError
from sparse_ortho.probe import Probe
from sparse_ortho.registry import available
from sparse_ortho.signatures import method
from sparse_ortho.streams import Streams

Batches = Sequence[tuple[torch.Tensor, torch.Tensor]]
Loss = Callable[[Any, Any], torch.Tensor]


def choose(
    probe: Probe,
    density: float | None,
    *,
    score: str,
    layers: str | Mapping[str, float],
    streams: Streams,
    score_options: Mapping[str, Any] | None = None,
    layer_options: Mapping[str, Any] | None = None,
) -> dict[str, torch.Tensor]:
    """Boolean masks on the CPU; `density` is not read when `layers` gives each layer its own."""
    function = method("scores", score, score_options, data=probe.batches)
    counts = share(probe.shapes, density, layers, layer_options)  # refuses before the costly part
    scores = function(probe, streams, **(score_options or {}))
    return masks.select({name: scores[name].detach().cpu() for name in probe.weights}, counts)


def share(
    shapes: Mapping[str, tuple[int, ...]],
    density: float | None,
    layers: str | Mapping[str, float],
    options: Mapping[str, Any] | None = None,
) -> int | dict[str, int]:
    """The budget: one number when all layers compete, otherwise a number for each."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if isinstance(layers, Mapping):
        return _given({masks.plain_name(name): value for name, value in layers.items()}, sizes)
    if density is None:
        raise UserError("density", "may be left out only when layers gives one for each layer", allowed="(0, 1]")
    total = budgets.budget(density, sum(sizes.values()))
    if layers == "global":
        return total
    schemes = available()["densities"]
    if layers not in schemes:
        raise UserError("layers", "unknown density scheme", found=layers, allowed=["global", *schemes])
    return method("densities", layers, options)(shapes, total, **(options or {}))


def _given(densities: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, int]:
    for name in densities:
        if name not in sizes:
            raise UserError("layers", "no maskable layer of this name", found=name, allowed=sizes)
    for name in sizes:
        if name not in densities:
            raise UserError("layers", f"the density of layer {name!r} is missing")
    return {name: budgets.budget(densities[name], size) for name, size in sizes.items()}


def make_masks(
    model: nn.Module,
    density: float | None,
    *,
    score: str = "random",
    layers: str | Mapping[str, float] = "erk",
    seed: int,
    data: Batches | None = None,
    loss: Loss | None = None,
    structure: str | None = None,
    maskable: Sequence[str] | None = None,
) -> masks.Masks:
    """Masks for `model` with exactly budget(density, N) active weights. The model is left as it is.

    `maskable`: patterns of the weights to mask (all linear and convolution weights if None); `data`: list of (x, y).
    """
    if structure is not None:
        raise UserError("structure", "only unstructured masks can be made", found=structure, allowed="None")
    weights = {name: weight.detach() for name, weight in masks.maskable(model, include=maskable).items()}
    probe = Probe(model, weights, data, loss)
    return masks.Masks(choose(probe, density, score=score, layers=layers, streams=Streams(seed)), model)
