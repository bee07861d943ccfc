"""Criteria of the gradient for what leaves (the program of Nowak et al., ICML 2024, names them; eps = 1e-8).

    w a weight, g its gradient on the last batch, gamma an option of the rule

    snip                     the lowest |w g| (Lee, Ajanthan, Torr, ICLR 2019)
    snip_half                half the lowest, half the highest |w g|
    snip_plus                the highest w g: whose removal, to first order, lowers the loss most
    mest                     the lowest |w| + gamma |g| (Yuan et al., "MEST", NeurIPS 2021)
    gradstep                 the lowest |w - gamma g|: what a step of gradient descent would leave
    sensitivity              the lowest |g| / (|w| + eps)
    reciprocal_sensitivity   the lowest |w| / (|g| + eps)
    taylor_f0                the lowest (w g)^2 (Molchanov et al., "Importance Estimation", CVPR 2019)

As intended: in that program some of these rank masked places too, so that these take part of what should leave.
"""

from __future__ import annotations

import torch

from sparse_ortho.rewiring.drops import Counts, Layers, Marks, Memory, lowest
from sparse_ortho.rewiring.layer import Layer, finite
from sparse_ortho.rewiring.ranking import best

EPS = 1e-8


def snip(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return {name: saliency(layer).abs() for name, layer in layers.items()}


def snip_half(layers: Layers, counts: Counts, memory: Memory, *, scope: str = "layer") -> Marks:
    """The lowest are one more where the count is odd."""
    score, high = snip(layers, counts, memory), {name: count // 2 for name, count in counts.items()}
    low = {name: count - high[name] for name, count in counts.items()}
    total = sum(counts.values())
    everywhere = scope == "global"
    gone = lowest(layers, score, total - total // 2 if everywhere else low)
    left = {name: layer.mask & ~gone[name] for name, layer in layers.items()}
    most = best(score, total // 2 if everywhere else high, left)
    return {name: gone[name] | most[name] for name in layers}


def snip_plus(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return {name: -saliency(layer) for name, layer in layers.items()}


def mest(layers: Layers, counts: Counts, memory: Memory, *, gamma: float = 1.0) -> Marks:
    return {name: finite(layer.magnitude + gamma * layer.steepness) for name, layer in layers.items()}


def gradstep(layers: Layers, counts: Counts, memory: Memory, *, gamma: float = 1.0) -> Marks:
    return {name: finite((layer.weight.detach() - gamma * layer.slope).abs()) for name, layer in layers.items()}


def sensitivity(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return {name: finite(layer.steepness / (layer.magnitude + EPS)) for name, layer in layers.items()}


def reciprocal_sensitivity(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    return {name: finite(layer.magnitude / (layer.steepness + EPS)) for name, layer in layers.items()}


def taylor_f0(layers: Layers, counts: Counts, memory: Memory) -> Marks:
    """In float64: of weights around 1e-12 the squares are 0 in float32."""
    return {name: saliency(layer).double().square() for name, layer in layers.items()}


def saliency(layer: Layer) -> torch.Tensor:
    """w g."""
    return finite(layer.weight.detach() * layer.slope)
