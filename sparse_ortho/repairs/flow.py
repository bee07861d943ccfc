"""No weight in vain: every active weight lies on a path from the input to the output, and their number stays.

    weights on no path go; in each layer as many of the best scores come where something alive comes in and is read

A place on a path of weights that stay is on it for good, so one pass is enough. A layer with fewer such places than it
had weights gives the rest to the others in proportion. Where all paths together have too few places, or there is none
(a layer has collapsed), units are brought to life before (`units`), or one path if there are too few weights for that.
From no paper. The effective density (Vysogorets, Kempe, "Connectivity Matters", JMLR 2023, arXiv 2107.02306), which
counts the weights on paths, is the density then.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sparse_ortho import budgets
from sparse_ortho.errors import UserError
from sparse_ortho.probe import Probe
from sparse_ortho.repairs.layer import layers_of
from sparse_ortho.repairs.paths import Paths
from sparse_ortho.repairs.units import units
from sparse_ortho.streams import Streams


def flow(
    probe: Probe, kept: Mapping[str, torch.Tensor], scores: Mapping[str, torch.Tensor], streams: Streams
) -> dict[str, torch.Tensor]:
    """Masks of as many weights, all of them on paths."""
    paths, total = Paths(probe), sum(int(mask.count_nonzero()) for mask in kept.values())
    masks, (through, places) = dict(kept), _through(paths, kept)
    if not any(mask.any() for mask in through.values()) or _number(places) < total:
        try:
            masks = units(probe, kept, scores, streams)
        except UserError:  # too few weights for all units may still do for some
            masks = paths.joined(kept, scores)
        through, places = _through(paths, masks)
    if not _number(through) <= total <= _number(places):
        size = sum(mask.numel() for mask in kept.values())
        reach = f"{_number(through)} to {_number(places)} weights"
        raise UserError(
            "density", f"no paths of {total} of {size} weights are found", found=total / size, allowed=reach
        )
    counts = {n: int(mask.count_nonzero()) for n, mask in kept.items()}
    most = {n: int(place.count_nonzero()) for n, place in places.items()}
    least = {n: int(mask.count_nonzero()) for n, mask in through.items()}
    if any(not least[n] <= counts[n] <= most[n] for n in counts):
        shares, sizes = {n: max(1, count) for n, count in counts.items()}, {n: m.numel() for n, m in masks.items()}
        counts = budgets.fill(shares, sizes, total, least, most)
    layers = layers_of(probe, through, scores, places)
    for name, layer in layers.items():
        layer.resize(counts[name], streams("mask", f"{name}/repair"))
    return {n: layer.mask for n, layer in layers.items()}


def _through(
    paths: Paths, masks: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The weights on paths, and the places on paths of these weights alone: what goes may have read other places."""
    through = paths.on_path(masks)
    return through, paths.open_places(through)


def _number(places: Mapping[str, torch.Tensor]) -> int:
    return sum(int(place.count_nonzero()) for place in places.values())
