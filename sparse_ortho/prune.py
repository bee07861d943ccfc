"""From scores to masks: score every weight, share the budget among the layers, keep exactly the best.

`layers` says who competes: "global" puts all weights in one list, the name of a density scheme gives each layer its own
count, a mapping gives each layer its own density, and the name of a score gives each layer as many weights as that
score would keep in it if all competed ("ratio only": score="random", layers="snip").

A score with an option `rounds` is evaluated that many times: each round keeps the best of what the last one left, down
the `path` (another option, else exponential), and scores anew with what was pruned at 0. Nothing comes back, unless the
score declares `RETURNS`: then all weights compete in every round (FORCE).

A score whose option `exact` is false gives no best: each weight is kept by itself with the density of its layer, as in
released programs, and the budget is met in expectation.

A `repair` moves weights of the mask to where the network needs them, by the scores of the first round (`repairs/`).
A `structure` keeps or removes whole units (`structures/`): the budget is then an upper bound, met to less than a unit.
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
from sparse_ortho.repairs.mend import mend
from sparse_ortho.signatures import method, options_of
from sparse_ortho.streams import Streams
from sparse_ortho.structures.select import structured

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
    structure: str | Mapping[str, Any] | None = None,
    repair: str | Mapping[str, Any] | None = None,
) -> dict[str, torch.Tensor]:
    """Boolean masks on the CPU; `density` is not read when `layers` gives each layer its own."""
    if structure is not None and repair is not None:
        raise UserError("repair", "moves single weights, which would end the structure", found=repair, allowed="None")
    options: dict[str, Any] = {"score_options": score_options, "layer_options": layer_options, "structure": structure}
    kept, scores = ranked(probe, density, score=score, layers=layers, streams=streams, **options)
    return kept if repair is None else mend(repair, probe, kept, scores, streams)


def ranked(
    probe: Probe,
    density: float | None,
    *,
    score: str,
    layers: str | Mapping[str, float],
    streams: Streams,
    score_options: Mapping[str, Any] | None = None,
    layer_options: Mapping[str, Any] | None = None,
    structure: str | Mapping[str, Any] | None = None,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The masks, and the scores of the first round: what a repair ranks weights by."""
    function = method("scores", score, score_options, data=probe.batches)  # refuses before the costly part
    known, whole = available(), None
    if structure is not None:
        whole = structured(structure, probe, reads_nothing=not beside("scores", score, "NEEDS", ()))
    if whole and (only := whole.fixed(density)):
        counts: int | dict[str, int] = only
    elif isinstance(layers, str) and layers in known["scores"] and layers not in known["densities"]:
        apart = choose(probe, density, score=layers, layers="global", streams=streams, score_options=layer_options)
        counts = {name: int(mask.count_nonzero()) for name, mask in apart.items()}
    else:
        counts = share(probe.shapes, density, layers, layer_options)
    if whole:
        whole.check(counts)
    options = {**options_of(function), **(score_options or {})}
    steps = _rounds(score, options, counts, probe.shapes)
    places, select = (probe, masks.select) if whole is None else (whole.places(probe), whole.select)
    if not options.get("exact", True):
        if whole and not whole.drawn:
            raise UserError("structure", f"{whole.name} keeps exact numbers, and exact: false draws each weight")
        sizes = {name: math.prod(shape) for name, shape in probe.shapes.items()}
        first = _scores(function, places, streams, options)
        kept = _drawn(first, counts, sizes)
        return whole.spread(kept) if whole else kept, first
    if len(steps) > 1:
        probe = replace(probe, whole=probe.weights, memo={})
    first = _scores(function, places if len(steps) == 1 else probe, streams, options)
    kept, returns = select(first, steps[0]), beside("scores", score, "RETURNS", False)
    for fewer in steps[1:]:
        # Boolean masks would take ten times as long in the product as floats.
        left = {name: weight * kept[name].to(weight) for name, weight in (probe.whole or {}).items()}
        scores = _scores(function, replace(probe, weights=left), streams, options)
        kept = select(scores, fewer, None if returns else kept)
    return kept, first


def _scores(function: Callable[..., Any], probe: Probe, streams: Streams, options: Mapping[str, Any]) -> Any:
    scores = function(probe, streams, **options)
    return {name: scores[name].detach().cpu() for name in probe.weights}


def _drawn(
    scores: Mapping[str, torch.Tensor], counts: int | dict[str, int], sizes: Mapping[str, int]
) -> dict[str, torch.Tensor]:
    """Each weight (or unit) by itself: of scores from [0, 1) the highest part, so that a mask holds thinner ones."""
    if isinstance(counts, int):
        density = dict.fromkeys(scores, counts / sum(sizes.values()))
    else:
        density = {name: counts[name] / sizes[name] for name in scores}
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
    if layers == "global" and not options:
        return total
    known = available()
    if layers == "global":
        raise UserError("layers", "global has no options: all weights compete", found=", ".join(options or ()))
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
    score: str | Mapping[str, Any] = "random",
    layers: str | Mapping[str, Any] = "erk",
    seed: int,
    data: Batches | None = None,
    loss: Loss | None = None,
    structure: str | Mapping[str, Any] | None = None,
    repair: str | Mapping[str, Any] | None = None,
    maskable: Sequence[str] | None = None,
) -> masks.Masks:
    """Masks for `model` with budget(density, N) active weights. The model is left as it is.

    Options stand beside a name: score={"name": "snip", "rounds": 60}, layers={"name": "erk", "power": 2.0}.

    `maskable`: patterns of the weights to mask (all linear and convolution weights if None); `data`: list of (x, y).
    `structure`: "kernel", "fan_in", {"name": "block", "rows": 4, "cols": 4} or {"name": "n_m", "n": 2, "m": 4}; whole
    units up to the budget. n_m has one density, n / m in every layer: `density` is that or None, `layers` not read.
    `repair`: "units" (none is dead) or "flow" (no weight is in vain), for the images of `data`; the number stays.
    """
    weights = {name: weight.detach() for name, weight in masks.maskable(model, include=maskable).items()}
    probe = Probe(model, weights, data, loss)
    score, options = _split(score, "score")
    given = isinstance(layers, Mapping) and "name" not in layers
    layers, more = (layers, None) if given else _split(layers, "layers")
    told: dict[str, Any] = {"score": score, "score_options": options, "layers": layers, "layer_options": more}
    kept = choose(probe, density, streams=Streams(seed), structure=structure, repair=repair, **told)
    return masks.Masks(kept, model)


def _split(given: str | Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """A name, and the options beside it."""
    options = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UserError(where, "must be a name, or a mapping with a name and options", found=given)
    return name, options
