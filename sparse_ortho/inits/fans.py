"""How many inputs an output of a layer has, with a mask: four ways to count, for variances of gain^2 / n.

    dense    n = c_in / groups * k^2, whatever the mask: most of the literature
    layer    n times the density of the layer, so that the mean square of an output stays (Liu, Sun, Zhou, Huang,
             Darrell, "Rethinking the Value of Network Pruning", ICLR 2019, arXiv 1810.05270)
    global   n times the density of all masked layers together
    neuron   the active weights of this output (Evci, Ioannou, Keskin, Dauphin, "Gradient Flow in Sparse Neural Networks
             and How Lottery Tickets Win", AAAI 2022, arXiv 2010.03533)

An output without an active weight counts as one with one: all its weights are masked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch

from sparse_ortho.probe import Probe

FanIn = Literal["dense", "layer", "global", "neuron"]


def fans(probe: Probe, masks: Mapping[str, torch.Tensor], fan_in: FanIn) -> dict[str, torch.Tensor]:
    """n of every output, (c_out, 1, ...) in float64, by the name of the weight."""
    counts = {name: masks[name].flatten(1).sum(1, dtype=torch.float64) for name in probe.weights}
    active = sum(float(count.sum()) for count in counts.values())
    everywhere = active / sum(math.prod(shape) for shape in probe.shapes.values())
    found = {}
    for name, shape in probe.shapes.items():
        dense = torch.full((shape[0],), float(math.prod(shape[1:])), dtype=torch.float64)
        if fan_in == "neuron":
            n = counts[name].clamp(min=1.0)
        elif fan_in == "layer":
            n = counts[name].mean().clamp(min=1 / shape[0]) * torch.ones_like(dense)
        else:
            n = dense * (everywhere or 1.0) if fan_in == "global" else dense
        found[name] = n.view(-1, *[1] * (len(shape) - 1))
    return found
