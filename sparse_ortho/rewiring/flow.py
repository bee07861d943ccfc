"""Flow preservation: no unit without a way in or out, and not one weight more.

    while an output has no weight into it, or an input none out of it:
    the smallest |w| whose output and whose input both keep another weight leaves,
    one free place of the dead unit comes: at random, or where |dL/dw| is largest

What Gadhikar, Mukherjee, Burkholz (ICML 2023) call flow preservation, for whole trainings. Not as in their program: it
repairs the first mask only, adds weights to it (20 to 40 % at density 0.001), and mends inputs of a convolution only
where exactly one is dead. Here weights move, inputs after outputs; what has just come does not leave again. A layer
with too few weights for all of its units mends as many as it can. Inputs of grouped convolutions are not looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch

from sparse_ortho.rewiring.counting import counts

Place = Callable[[np.ndarray], int]  # which of these flat places comes


def dead(masks: Mapping[str, torch.Tensor], inputs: Mapping[str, bool]) -> dict[str, int]:
    """How many units of each layer have no way in or out."""
    sides = {}
    for name, mask in masks.items():
        taps = _taps(mask)
        sides[name] = torch.cat([~taps.any(2).any(side) for side in ((1, 0) if inputs[name] else (1,))])
    return counts(sides)


def repaired(mask: torch.Tensor, magnitude: torch.Tensor, inputs: bool, place: Place) -> tuple[torch.Tensor, list[int]]:
    """The mask with moved weights, and flat places: whence and whither each one went, in turn."""
    edges = Edges(_taps(mask).cpu().numpy().copy(), _taps(magnitude).cpu().numpy())
    moves: list[int] = []
    for side in (0, 1) if inputs else (0,):
        for unit in np.flatnonzero(edges.degree[side] == 0):
            gone = edges.lowest_redundant()
            if gone is None:
                break
            flat = np.arange(edges.mask.size).reshape(edges.mask.shape)
            came = place((flat[unit] if side == 0 else flat[:, unit]).reshape(-1))
            edges.move(gone, came)
            moves += [gone, came]
    return torch.from_numpy(edges.mask).view(mask.shape).to(mask.device), moves


def preserved(
    masks: Mapping[str, torch.Tensor],
    magnitudes: Mapping[str, torch.Tensor],
    grouped: Collection[str],
    rng: Callable[[str], np.random.Generator],
    steepness: Mapping[str, torch.Tensor] | None,
) -> dict[str, tuple[torch.Tensor, list[int]]]:
    """The layers that had dead units: mask and moves. Others are never brought to the CPU."""
    inputs = {name: name not in grouped for name, mask in masks.items() if mask.ndim > 1}
    broken = dead({name: masks[name] for name in inputs}, inputs)
    found = {}
    for name in (name for name, number in broken.items() if number):
        generator = rng(name)

        def place(free: np.ndarray, name: str = name, generator: np.random.Generator = generator) -> int:
            if steepness is None:
                return int(generator.choice(free))
            return int(free[steepness[name].reshape(-1)[torch.from_numpy(free)].argmax()])

        found[name] = repaired(masks[name], magnitudes[name], inputs[name], place)
    return found


class Edges:
    """The weights of a layer (outputs, inputs, taps), the smallest of them that no unit needs first."""

    def __init__(self, mask: np.ndarray, magnitude: np.ndarray):
        self.mask = mask
        self.degree = (mask.sum((1, 2)), mask.sum((0, 2)))
        places = np.flatnonzero(mask)
        self.heap = list(zip(magnitude.reshape(-1)[places].tolist(), places.tolist(), strict=True))
        heapq.heapify(self.heap)
        self.parked: dict[tuple[int, int], list[tuple[float, int]]] = {}  # the only one of its unit, for now

    def lowest_redundant(self) -> int | None:
        while self.heap:
            edge = heapq.heappop(self.heap)
            only = [(side, unit) for side, unit in enumerate(self.units(edge[1])) if self.degree[side][unit] == 1]
            if not only:
                return edge[1]
            self.parked.setdefault(only[0], []).append(edge)
        return None

    def move(self, gone: int, came: int) -> None:
        for place, change in ((gone, -1), (came, 1)):
            self.mask.reshape(-1)[place] = change > 0
            for side, unit in enumerate(self.units(place)):
                self.degree[side][unit] += change
                if change > 0 and self.degree[side][unit] == 2:
                    for edge in self.parked.pop((side, unit), []):
                        heapq.heappush(self.heap, edge)

    def units(self, place: int) -> tuple[int, int]:
        _, inputs, taps = self.mask.shape
        return place // (inputs * taps), place // taps % inputs


def _taps(values: torch.Tensor) -> torch.Tensor:
    """(outputs, inputs, taps)"""
    return values.detach().reshape(*values.shape[:2], -1)
