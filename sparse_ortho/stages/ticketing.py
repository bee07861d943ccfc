"""One seed of one level of a ladder: what stage `ticket` does once the level below is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from sparse_ortho.devices import prepare
from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks, maskable
from sparse_ortho.probe import Probe
from sparse_ortho.registry import beside, load
from sparse_ortho.stages.batches import SIZE, TrainingBatches
from sparse_ortho.stages.bundle import split
from sparse_ortho.stages.networks import build
from sparse_ortho.stages.options import options_of
from sparse_ortho.stages.starts import few_images, initialised
from sparse_ortho.store import Result
from sparse_ortho.streams import Streams
from sparse_ortho.tickets.fresh import of_level
from sparse_ortho.tickets.options import TicketOptions
from sparse_ortho.tickets.pruning import counted, prunable, pruned, shared
from sparse_ortho.tickets.resets import masked, restarted, signed
from sparse_ortho.training.losses import cross_entropy

State = dict[str, torch.Tensor]
Tensors = Mapping[str, Mapping[str, np.ndarray]]  # role -> what it reads: init (below), train, early, ticket, signs
Images = Callable[[], tuple[Mapping[str, Any], Mapping[str, Any]]]


def drawn(spec: Mapping[str, Any], streams: Streams, tensors: Tensors, images: Images) -> Result:
    """The ticket: weights and masks, and how many weights each layer has left."""
    prepare("cpu", 1)  # the same bytes whatever the machine
    told = dict(spec["ticket"])
    score, score_options = options_of(told.pop("score", {"name": "magnitude"}))
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    options = TicketOptions(**given)
    model = build(spec)
    below, trained = states(model, tensors, "init"), states(model, tensors, "train")
    model.load_state_dict(trained or below)
    found = marks(tensors, "train") or marks(tensors, "init")
    names = prunable(model, options.tensors, options.exclude)
    active = {name: found.get(name, torch.ones_like(weight, dtype=torch.bool)) for name, weight in names.items()}
    if "ticket" in tensors:
        kept = taken(marks(tensors, "ticket"), found, options.kind)
    else:
        counts = shared(active, rate=options.rate, density=options.density, layers=options.layers, scheme=scheme(told))
        probe = probed(model, names, active, score, streams, images, tuple(spec["shape"]))
        kept = found | pruned(probe, active, counts, of_level(streams, spec["level"]), score, score_options)
    point = states(model, tensors, "early") or states(model, tensors, "init", "rewind") or below
    if options.kind == "reinit":
        point = redrawn(spec, kept, of_level(streams, spec["level"]), images)
    weights = restarted(trained or point, point, options.reset, model, maskable(model))
    weights = masked(signed(weights, states(model, tensors, "signs"), maskable(model)), kept)
    return result(spec, model, weights, kept, point, sum(counted(active).values()))


def states(model: torch.nn.Module, tensors: Tensors, role: str, family: str = "weights") -> State:
    """A whole state of the model, or nothing; a file makes scalars (BatchNorm's counter) one-dimensional."""
    arrays = dict(split(tensors.get(role, {}), family))
    shapes = {name: value.shape for name, value in model.state_dict().items()} if arrays else {}
    return {name: torch.from_numpy(np.array(arrays[name])).reshape(shape) for name, shape in shapes.items()}


def marks(tensors: Tensors, role: str) -> State:
    return {name: torch.from_numpy(array.copy()) for name, array in split(tensors.get(role, {}), "masks")}


def scheme(told: Mapping[str, Any]) -> Any:
    """The density scheme whose counts a level takes, if it takes one's."""
    return load("densities", told["layers"]) if told.get("layers", "each") not in ("global", "each") else None


def probed(
    model: torch.nn.Module,
    names: Mapping[str, torch.nn.Parameter],
    active: Mapping[str, torch.Tensor],
    score: str,
    streams: Streams,
    images: Images,
    shape: tuple[int, ...],
) -> Probe:
    """The trained network, as its score looks at it: what is pruned is 0."""
    weights = {name: (weight.detach() * active[name]).contiguous() for name, weight in names.items()}
    wants = "data" in beside("scores", score, "NEEDS", ())
    return Probe(model, weights, few_images(images(), streams) if wants else None, cross_entropy, shape)


def taken(theirs: State, ours: State, kind: str) -> State:
    """The masks of another ladder. Weights that went to 0 before this ladder began have nothing to go back to."""
    for name, mask in theirs.items() if kind == "lt" else ():
        if name in ours and bool((mask & ~ours[name]).any()):
            raise UserError(f"ticket.masks_of: {name}", "these masks keep weights that this network has never had")
    return theirs


def redrawn(spec: Mapping[str, Any], kept: State, fresh: Streams, images: Images) -> State:
    """The network with new weights by the initialisation of its cell, which sees the masks that it is drawn for."""
    model, name = build(spec), spec["init"]["name"]
    wants = "data" in beside("inits", name, "NEEDS", ())
    batches = TrainingBatches(images(), fresh, spec["init"].get("batch", SIZE)) if wants else None
    given = Masks(kept, model)
    if initialised(model, Masks(kept, model), spec["init"], fresh, batches).digest() != given.digest():
        raise UserError("ticket.kind", f"reinit keeps the masks, and {name} moves them; take another init", found=name)
    return dict(model.state_dict())


def result(
    spec: Mapping[str, Any], model: torch.nn.Module, weights: State, kept: State, point: State, before: int
) -> Result:
    left = counted(kept)
    row: dict[str, Any] = {"status": "ok", "reason": None, "dense": False, "level": spec["level"]}
    row["nonzeros"] = sum(int(weights[name].count_nonzero()) for name in maskable(model))
    row |= {"kept": sum(left.values()), "weights": sum(mask.numel() for mask in kept.values()), "before": before}
    row["empty"] = [name for name, count in left.items() if not count]
    shares = {name: left[name] / mask.numel() for name, mask in kept.items()}
    row["layers"] = [[name, weights[name].numel(), shares.get(name, 1.0)] for name in maskable(model)]
    carried = {f"rewind/{name}": value.numpy() for name, value in point.items()} if spec.get("carries") else {}
    arrays = {f"weights/{name}": value.numpy() for name, value in weights.items()}
    return Result(row, arrays | {f"masks/{name}": mask.numpy() for name, mask in kept.items()} | carried)
