"""The best places of each layer, or of all layers together, without asking the device for anything.

`masks.select` reads numbers back for every layer: on the CPU, where that is free, it is the faster one (a partition),
on a device a stable sort waits for nothing. Both give the same masks: of equals the first ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sparse_ortho.masks import select

Marks = dict[str, torch.Tensor]


def best(
    scores: Mapping[str, torch.Tensor], counts: Mapping[str, int] | int, among: Mapping[str, torch.Tensor]
) -> Marks:
    """The counts[l] highest scores of layer l among the places that are True, or as many in all."""
    if next(iter(scores.values())).device.type == "cpu":
        return select(scores, counts, among)
    return by_sorting(scores, counts, among)


def by_sorting(
    scores: Mapping[str, torch.Tensor], counts: Mapping[str, int] | int, among: Mapping[str, torch.Tensor]
) -> Marks:
    flat = {name: _candidates(score, among[name]) for name, score in scores.items()}
    if isinstance(counts, Mapping):
        kept = {name: _first(score, counts[name]) for name, score in flat.items()}
    else:
        together = _first(torch.cat([score.to(torch.float64) for score in flat.values()]), counts)
        kept = dict(zip(flat, together.split([len(score) for score in flat.values()]), strict=True))
    return {name: mark.view(scores[name].shape) for name, mark in kept.items()}


def _candidates(score: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """Scores are finite (layer.finite), so that minus infinity comes after all of them."""
    return torch.where(among, score.detach(), -torch.inf).reshape(-1)


def _first(score: torch.Tensor, count: int) -> torch.Tensor:
    order = score.argsort(descending=True, stable=True)[:count]
    return torch.zeros_like(score, dtype=torch.bool).index_fill_(0, order, True)
