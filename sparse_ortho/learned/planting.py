"""Planting: a known solution is put into a random network, so that one can see whether a search finds it (Fischer,
Burkholz, "Plant 'n' Seek: Can You Find the Winning Ticket?", ICLR 2022, arXiv 2111.11153).

    every hidden unit i of the target takes a unit s(i) of the source of its own, the one most like it up to scale:
        lambda = <w, v> / <w, w>,   v the random weights of a source unit at the places of w,   least |v - lambda w|
    source row s(i)  <-  lambda_i w_i / (lambda of the inputs),   since relu(lambda z) = lambda relu(z)

For chains of linear layers with relu between them, without biases. The mask of the source is the frame: links that the
target needs and the frame lacks are taken from random others, so every layer keeps its number. Units are given out in
the order of their norms, large ones first. Not from the paper: the frame; that lambda is at least a tenth of the
ratio of norms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.streams import Streams

LEAST = (
    0.1  # of the ratio of norms: a target turned the other way would have a negative scale, which relu does not bear
)


@dataclass(frozen=True)
class Planted:
    weights: dict[str, torch.Tensor]  # of the source, with the target in them
    frame: dict[str, torch.Tensor]  # as many links a layer as before
    ticket: dict[str, torch.Tensor]  # where the target is
    units: dict[str, torch.Tensor]  # source unit of each target unit, by layer


def plant(
    source: Mapping[str, torch.Tensor],
    frame: Mapping[str, torch.Tensor],
    target: Sequence[torch.Tensor],
    streams: Streams,
) -> Planted:
    """`source` and `frame` by the names of the layers, in their order; `target` the weights of as many, 0 where not."""
    if len(source) != len(target):
        raise UserError("target", f"has another depth than the source, {len(source)}", found=len(target))
    weights, masks = {n: w.detach().clone() for n, w in source.items()}, {n: m.clone() for n, m in frame.items()}
    tickets, units = {n: torch.zeros_like(m) for n, m in masks.items()}, {}
    before = torch.arange(target[0].shape[1])
    scales = torch.ones(len(before), dtype=torch.float64)
    for number, (name, wanted) in enumerate(zip(source, target, strict=True)):
        _fits(name, weights[name], wanted, first=number == 0, last=number == len(target) - 1)
        rows = weights[name].double()[:, before]  # (source units, target inputs)
        wanted = wanted.detach().double() / scales
        if number == len(target) - 1:
            chosen, scales = torch.arange(len(wanted)), torch.ones(len(wanted), dtype=torch.float64)
        else:
            chosen, scales = _matched(rows, wanted)
        places = (chosen[:, None], before[None, :])
        tickets[name][places] = wanted != 0
        weights[name][places] = torch.where(wanted != 0, scales[:, None] * wanted, rows[chosen]).to(weights[name].dtype)
        masks[name] = _with(masks[name], tickets[name], name, streams)
        units[name], before = chosen, chosen
    return Planted(weights, masks, tickets, units)


def _matched(rows: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A source unit of its own for each target unit, and the positive scale that brings the target closest to it."""
    chosen = torch.zeros(len(wanted), dtype=torch.long)
    scales, free = torch.ones(len(wanted), dtype=torch.float64), torch.ones(len(rows), dtype=torch.bool)
    for unit in wanted.norm(dim=1).argsort(descending=True, stable=True).tolist():
        w = wanted[unit]
        there = rows * (w != 0)
        squared = w.square().sum()
        if not squared:  # a unit that is always 0 takes any place
            chosen[unit] = free.nonzero()[0, 0]
        else:
            least = LEAST * there.norm(dim=1) / squared.sqrt()
            scale = torch.maximum(there @ w / squared, least).clamp(min=1e-12)
            error = (there - scale[:, None] * w).square().sum(1).masked_fill(~free, torch.inf)
            chosen[unit] = error.argmin()
            scales[unit] = scale[chosen[unit]]
        free[chosen[unit]] = False
    return chosen, scales


def _with(mask: torch.Tensor, ticket: torch.Tensor, name: str, streams: Streams) -> torch.Tensor:
    """The mask with the ticket in it and as many links less elsewhere."""
    missing = int((ticket & ~mask).sum())
    others = (mask & ~ticket).reshape(-1).nonzero().view(-1)
    if missing > len(others):
        raise UserError(name, f"its mask has too few links for a target of {int(ticket.sum())}", found=int(mask.sum()))
    gone = streams("mask", f"{name}/planted").choice(len(others), missing, replace=False)
    moved = (mask | ticket).reshape(-1).clone()
    moved[others[torch.from_numpy(gone)]] = False
    return moved.view(mask.shape)


def _fits(name: str, weight: torch.Tensor, wanted: torch.Tensor, *, first: bool, last: bool) -> None:
    if weight.ndim != 2 or wanted.ndim != 2:
        raise UserError(name, "planting knows linear layers only", found=tuple(weight.shape))
    (rows, cols), (wide, deep) = weight.shape, wanted.shape
    if wide > rows or deep > cols or (first and deep != cols) or (last and wide != rows):
        problem = "must be at least as wide as the target, with its inputs and outputs"
        raise UserError(name, problem, found=tuple(weight.shape), allowed=str(tuple(wanted.shape)))
