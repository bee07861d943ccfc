"""From scores to masks: score every weight, share the budget among the layers, keep exactly the best.

`layers` says who competes: "global" puts all weights in one list, the name of a density scheme gives each layer its own
count, a mapping gives each layer its own density, and the name of a score gives each layer as many weights as that
score would keep in it if all competed ("ratio only": score="random", layers="snip").

A score with an option `rounds` is evaluated that many times: each round keeps the best of what the last one left, down
the `path` (another option, else exponential), and scores anew with what was pruned at 0. Nothing comes back, unless the
score declares `RETURNS`: then all weights compete in every round (FORCE).

A score whose option `exact` is false gives no best: each weight is kept by itself with the density of its layer, as in
released programs, and the budget is met in expectation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from sparse_ortho import budgets, masks, schedules
from sparse_ortho.errors import UserError
from sparse_ortho.probe import Probe
from sparse_ortho.registry import available, beside
from sparse_ortho.signatures import method, options_of
from sparse_ortho.streams import Streams

Batches = Sequence[tuple[torch.Tensor, torch.Tensor]]
Loss = Callable[[Any, Any], torch.Tensor]
PATHS = {name: getattr(schedules, name) for name in ("cosine", "cubic", "exponential", "linear")}


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
    function = method("scores", score, score_options, data=probe.batches)  # refuses before the costly part
    known = available()
    if isinstance(layers, str) and layers in known["scores"] and layers not in known["densities"]:
        apart = choose(probe, density, score=layers, layers="global", streams=streams, score_options=layer_options)
        counts = {name: int(mask.count_nonzero()) for name, mask in apart.items()}
    else:
        counts = share(probe.shapes, density, layers, layer_options)
    options = {**options_of(function), **(score_options or {})}
    steps = _rounds(score, options, counts, probe.shapes)
    if not options.get("exact", True):
        return _drawn(_scores(function, probe, streams, options), counts)
    if len(steps) > 1:
        probe = replace(probe, whole=probe.weights, memo={})
    kept = masks.select(_scores(function, probe, streams, options), steps[0])
    for fewer in steps[1:]:
        # Boolean masks would take ten times as long in the product as floats.
        left = {name: weight * kept[name].to(weight) for name, weight in (probe.whole or {}).items()}
        scores = _scores(function, replace(probe, weights=left), streams, options)
        kept = masks.select(scores, fewer, None if beside("scores", score, "RETURNS", False) else kept)
    return kept


def _scores(function: Callable[..., Any], probe: Probe, streams: Streams, options: Mapping[str, Any]) -> Any:
    scores = function(probe, streams, **options)
    return {name: scores[name].detach().cpu() for name in probe.weights}


def _drawn(scores: Mapping[str, torch.Tensor], counts: int | dict[str, int]) -> dict[str, torch.Tensor]:
    """Each weight by itself: of scores from [0, 1) the highest part, so that a mask holds those of lower density."""
    if isinstance(counts, int):
        density = dict.fromkeys(scores, counts / sum(score.numel() for score in scores.values()))
    else:
        density = {name: counts[name] / score.numel() for name, score in scores.items()}
    return {name: score >= 1 - density[name] for name, score in scores.items()}


def _rounds(
    score: str, options: Mapping[str, Any], counts: int | dict[str, int], shapes: Mapping[str, tuple[int, ...]]
) -> list[int | dict[str, int]]:
    """What each round keeps: floor(N * path((r + 1) / rounds) + 1/2) of N weights, and in the last exactly `counts`."""
    rounds, path = options.get("rounds", 1), options.get("path", "exponential")
    if type(rounds) is not int or rounds < 1:
        raise UserError(f"scores.{score}.rounds", "must be a whole number of at least 1", found=rounds)
    if path not in PATHS:
        raise UserError(f"scores.{score}.path", "unknown path", found=path, allowed=PATHS)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}

    def at(t: float, count: int, size: int) -> int:
        return max(count, math.floor(size * PATHS[path](t, count / size) + 0.5))

    times = [(r + 1) / rounds for r in range(rounds - 1)]
    if isinstance(counts, int):
        return [*(at(t, counts, sum(sizes.values())) for t in times), counts]
    return [*({name: at(t, count, sizes[name]) for name, count in counts.items()} for t in times), counts]


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
    known = available()
    if layers not in known["densities"]:
        allowed = ["global", *known["densities"], *known["scores"]]
        raise UserError("layers", "unknown density scheme", found=layers, allowed=allowed)
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
    """Masks for `model` with budget(density, N) active weights. The model is left as it is.

    `maskable`: patterns of the weights to mask (all linear and convolution weights if None); `data`: list of (x, y).
    """
    if structure is not None:
        raise UserError("structure", "only unstructured masks can be made", found=structure, allowed="None")
    weights = {name: weight.detach() for name, weight in masks.maskable(model, include=maskable).items()}
    probe = Probe(model, weights, data, loss)
    return masks.Masks(choose(probe, density, score=score, layers=layers, streams=Streams(seed)), model)
