"""No dead units: after the program beside Gadhikar, Mukherjee, Burkholz (ICML 2023, arXiv 2210.02412), whose repair is
`units@as_released`.

    every unit (an output channel of a layer) gets a weight that comes in and one that reads it; as many redundant
    weights go, so that the number of weights stays

The best score of the row, or of the inputs that the unit feeds, is opened; the worst are closed among the weights that
are neither the last of their row nor of their column. Layers keep their numbers, unless one has fewer than its units
need: then the others give in proportion. A total that is too small for all units is refused.

Not from the program: it looks at each weight tensor alone and adds weights. Here a unit that only a shortcut needs is
alive as long as the shortcut is (the sum of a residual block has other ways in, its input other ways out), channels
after a flattening are one unit, and pixels may stay without a weight, unless `inputs`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from sparse_ortho import budgets
from sparse_ortho.probe import Probe
from sparse_ortho.repairs.layer import Layer, layers_of
from sparse_ortho.repairs.paths import Paths
from sparse_ortho.repairs.wiring import OUTPUT, Wiring
from sparse_ortho.streams import Streams


def units(
    probe: Probe,
    kept: Mapping[str, torch.Tensor],
    scores: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    inputs: bool = False,
) -> dict[str, torch.Tensor]:
    """Masks of as many weights, in which every unit has a way in and a way out."""
    whole = {n: torch.ones_like(mask) for n, mask in kept.items()}
    layers = layers_of(probe, kept, scores, Paths(probe).open_places(whole))
    counts, wiring = {n: layer.count for n, layer in layers.items()}, Wiring(probe)
    between = wiring.between()
    for name, layer in layers.items():
        if name in between:
            layer.free[:] = ~between[name].numpy().reshape(layer.free.shape) & (not inputs)
    open_ways_in(layers, wiring)
    open_ways_out(layers, wiring)
    if inputs:
        for name, layer in layers.items():
            pixels = ~between[name].numpy() if name in between else np.zeros(0, dtype=bool)
            for column in np.flatnonzero(pixels & (layer.columns() == 0)):
                _open(layer, layer.best_of_column(int(column)))
    floors = {n: layer.floor() for n, layer in layers.items()}
    if any(counts[n] < floors[n] for n in layers):
        most = {n: int(layer.places.sum()) for n, layer in layers.items()}
        sizes = {n: layer.active.size for n, layer in layers.items()}
        counts = budgets.fill(counts, sizes, sum(counts.values()), floors, most)
    for name, layer in layers.items():
        layer.resize(counts[name], streams("mask", f"{name}/repair"))
    return {n: layer.mask for n, layer in layers.items()}


def open_ways_in(layers: Mapping[str, Layer], wiring: Wiring) -> None:
    """A weight in every empty row of a unit that feeds an input, or the output, which nothing else feeds."""
    ways_in = {n: torch.from_numpy(layer.rows() > 0) for n, layer in layers.items()}
    fed = wiring.fed(ways_in)
    dead = [(n, row) for n, rows in ways_in.items() for row in (~rows).nonzero().flatten().tolist()]
    for (name, row), readers in zip(dead, wiring.readers(dead), strict=True):
        if any(not fed[reader][columns].all() for reader, columns in readers.items()):
            _open(layers[name], layers[name].best_of_row(row))
            for reader, columns in readers.items():
                fed[reader][columns] = True


def open_ways_out(layers: Mapping[str, Layer], wiring: Wiring) -> None:
    """A weight in one of the inputs that a unit feeds, if none of them has one and it does not feed the output."""
    reading = {n: torch.from_numpy(layer.columns() > 0) for n, layer in layers.items()}
    ways_out = wiring.ways_out(reading)
    dead = [(n, row) for n, rows in ways_out.items() for row in (~rows).nonzero().flatten().tolist()]
    for readers in wiring.readers(dead):
        places = {n: columns for n, columns in readers.items() if n != OUTPUT}
        if OUTPUT in readers or any(reading[n][columns].any() for n, columns in places.items()):
            continue
        found = [(n, c, layers[n].best_of_column(c)) for n, columns in places.items() for c in columns]
        reachable = [(best[0], n, c, best) for n, c, best in found if best]
        if reachable:
            _, name, column, best = max(reachable, key=lambda item: item[0])
            _open(layers[name], best)
            reading[name][column] = True


def _open(layer: Layer, best: tuple[float, tuple[int, ...]] | None) -> None:
    if best:
        layer.active[best[1]] = True
