"""MEST, memory-economic sparse training (Yuan et al., NeurIPS 2021, arXiv 2110.14032): EM and EM&S.

    s_i = |w_i| + lambda |dL/dw_i|        the importance of an active weight
    elastic mutation (EM)        every k steps a fraction p of the K_l weights of layer l leaves, those with the lowest
                                 s; as many grow at random;  p falls over time
    soft memory bound (EM&S)     every k steps the layer shrinks to its K_l weights by s, then p K_l more grow at random
                                 and train until the next time: what is new is judged only after it has trained

Under the soft bound a layer holds K_l + floor(p K_l) weights between updates, as far as it has places, and K_l from
`stop` on. Published for 160 epochs of CIFAR: k = 5 epochs, lambda = 0.01, p K_l = 0.02 N_l to epoch 90 and half of it
to 120, at density 0.1. Not from the paper: p is a fraction of the weights that a layer keeps, and falls linearly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sparse_ortho.rewiring import growth
from sparse_ortho.rewiring.counting import counts
from sparse_ortho.rewiring.engine import Change
from sparse_ortho.rewiring.layer import Layer
from sparse_ortho.rewiring.live import Rewiring
from sparse_ortho.rewiring.ranking import best
from sparse_ortho.rewiring.rule import Rule

Layers = Mapping[str, Layer]
Counts = Mapping[str, int]
RANGES = {"importance": "at least 0"}


def shrunk(layers: Layers, weight: float, kept: Counts) -> dict[str, torch.Tensor]:
    """The most important weights of each layer, kept[l] of them; `weight` is lambda."""
    scores = {name: layer.magnitude + weight * layer.steepness for name, layer in layers.items()}
    return best(scores, kept, {name: layer.mask for name, layer in layers.items()})


def mutated(layers: Layers, weight: float, kept: Counts, wanted: Counts) -> Change:
    """First shrunk to kept[l] weights, then grown to at most wanted[l]."""
    masks = shrunk(layers, weight, kept)
    left = {name: layer.with_mask(masks[name], kept[name]) for name, layer in layers.items()}
    more = {name: min(wanted[name], layer.size) - kept[name] for name, layer in layers.items()}
    grown = growth.random(left, more)
    return Change({name: masks[name] | grown[name] for name in masks}, grown)


class Mutating(Rewiring):
    rule: Mutation
    grows = True

    def __init__(self, *given: Any, **lengths: Any):
        super().__init__(*given, **lengths)
        self.base = counts(dict(self.masks))

    def due(self, step: int) -> bool:
        return super().due(step) or (self.rule.soft and step == self.times.stop)

    def change(self, layers: Layers, step: int) -> Change:
        part = {name: math.floor(round(self.times.fraction(step) * k, 6)) for name, k in self.base.items()}
        if self.rule.soft:
            return mutated(
                layers, self.rule.importance, self.base, {name: k + part[name] for name, k in self.base.items()}
            )
        return mutated(layers, self.rule.importance, {n: k - part[n] for n, k in self.base.items()}, self.base)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"base": self.base}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.base = dict(state["base"])


@dataclass(frozen=True)
class Mutation(Rule):
    importance: float = 0.01  # lambda
    soft: bool = True

    live = Mutating
    limits = RANGES


def mest(
    *,
    every: str = "5ep",
    start: str = "0it",
    stop: str = "0.75",
    fraction: float = 0.2,
    decay: Literal["constant", "cosine", "linear"] = "linear",
    end: float = 0.0,
    importance: float = 0.01,
    soft: bool = True,
    momentum_reset: bool | Literal["mean"] = False,
    masked_momentum: bool = True,
) -> Rule:
    return Mutation(
        "mest",
        every,
        start,
        stop,
        None,
        fraction,
        decay,
        end,
        momentum_reset=momentum_reset,
        masked_momentum=masked_momentum,
        importance=importance,
        soft=soft,
    )
