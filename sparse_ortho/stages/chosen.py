"""Masks as a spec says them: from a file, or the words that `prune` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sparse_ortho.artifacts import digest_file
from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.masks import Masks
from sparse_ortho.plan.mask_sources import FILE, place_of
from sparse_ortho.probe import Probe
from sparse_ortho.prune import ranked
from sparse_ortho.repairs.mend import facts, mend
from sparse_ortho.stages.options import options_of
from sparse_ortho.streams import Streams

Kept = dict[str, torch.Tensor]


def masks_of(
    spec: Mapping[str, Any], probe: Probe, streams: Streams, file: str | None = None
) -> tuple[Kept, dict[str, Any]]:
    """The masks of a spec, and what a row says of them besides their number."""
    mask, scores = spec["mask"], None
    size = sum(weight.numel() for weight in probe.weights.values())
    if mask["score"]["name"] == FILE:
        kept = _read(file or "", mask["score"].get("nonzero", False), probe)
    else:
        kept, scores = ranked(probe, spec["density"], streams=streams, **_words(mask))
    more: dict[str, Any] = {}
    if structure := mask.get("structure"):
        more = {"unit": structure["name"], "asked": budget(spec["density"], size)}
    if repair := mask.get("repair"):
        before, kept = kept, mend(repair, probe, kept, scores, streams)
        opened, closed = (_only(kept, before), _only(before, kept))
        more = {"repair": repair["name"], "opened": opened, "closed": closed}
    return kept, facts(probe, kept) | more


def _words(mask: Mapping[str, Any]) -> dict[str, Any]:
    """What `prune` calls the parts of a mask."""
    score, score_options = options_of(mask["score"])
    layers, layer_options = options_of(mask["layers"])
    given = layers == "given"
    who: dict[str, Any] = {"layers": layer_options["densities"] if given else layers, "score": score}
    how = {"score_options": score_options, "layer_options": {} if given else layer_options}
    return who | how | {"structure": mask.get("structure")}


def file_of(spec: Mapping[str, Any], files: Mapping[str, str]) -> str | None:
    """The path of the user's file, if it is still the one that the plan saw: else nothing is said about the cell."""
    score = spec["mask"]["score"]
    if score["name"] != FILE:
        return None
    path = files.get(score["digest"])
    if path is None:
        raise UserError("mask.file", "the job does not say where the file is: plan again", found=score["digest"])
    if not place_of(path).is_file() or digest_file(place_of(path)) != score["digest"]:
        raise UserError(path, "is not the file any more that the plan saw: run again")
    return path


def _read(path: str, nonzero: bool, probe: Probe) -> Kept:
    """The masks of a file, if they fit the model."""
    wanted = probe.shapes
    found = Masks.load(place_of(path), nonzero=nonzero)
    for name, shape in wanted.items():
        if name not in found:
            raise UserError(path, f"has no mask for {name!r}; a layer that is kept whole has a mask of ones")
        if tuple(found[name].shape) != shape:
            shapes = f"{tuple(found[name].shape)}, the weight {shape}"
            raise UserError(path, f"does not fit the model: its mask of {name!r} has shape {shapes}")
    if odd := [name for name in found if name not in wanted and not nonzero]:
        raise UserError(path, "has a mask for what is no maskable weight of the model", found=odd[0])
    return {name: found[name] for name in wanted}


def _only(these: Kept, not_these: Kept) -> int:
    return sum(int((mask & ~not_these[name]).count_nonzero()) for name, mask in these.items())
