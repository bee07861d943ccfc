"""Soft threshold reparameterisation, STR (Kusupati, Ramanujan, Somani, Wortsman, Jain, Kakade, Farhadi, "Soft Threshold
Weight Reparameterization for Learnable Sparsity", ICML 2020, arXiv 2002.03231), within a mask M (Gadhikar, Mukherjee,
Burkholz, ICML 2023, arXiv 2210.02412).

    W~ = M * sign(W) * relu(|W| - g(s)),   g = sigmoid or exp,   one s a layer (or one for all: `scope`)
    dL/dW = dL/dW~ on |W| > g(s),   dL/ds = - g'(s) sum_{|W| > g(s)} sign(W) dL/dW~

The density is no option but the outcome of a balance: weight decay draws s, which begins far below 0, to 0 and so opens
the threshold, the loss works against it (learned/law.py has the decay alone). It is measured, always. `s_decay` is the
weight decay of s, None that of the training. With `target_density` the `s_decay` that leads there is looked for by
whole trainings, or by shorter ones of `probe_epochs`, at most `probes` of them, until one is within `tolerance`,
relative; the training itself then goes with the best one (learned/search.py, training/thresholded.py).

Where g(s) is 0 (sigmoid of less than -103 is, in float32) no threshold acts and the layer is plainly masked. Not from
the papers: `first_layer` and `last_layer`, which leave such an end to its mask; the search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.learned.threshold import Threshold
from sparse_ortho.streams import Streams

THINS = True  # so it may start from a dense network
PART = "sparse_ortho.training.thresholded:Thresholded"  # how a training takes it


@dataclass(frozen=True)
class SoftThreshold:
    s_init: float
    s_decay: float | None
    function: str
    scope: str
    first_layer: str
    last_layer: str
    target_density: float
    tolerance: float
    probes: int
    probe_epochs: int
    name: str = "soft_threshold"

    flow = "none"  # as rules of rewiring/ say it: no weight is moved to a unit that has none

    def __post_init__(self) -> None:
        if self.s_decay is not None and self.s_decay < 0:
            raise UserError(self.where("s_decay"), "must be at least 0", found=self.s_decay)
        if not 0 <= self.target_density <= 1:
            raise UserError(self.where("target_density"), "out of range", found=self.target_density, allowed="[0, 1]")

    def where(self, option: str) -> str:
        return f"rule.{self.name}.{option}"

    def text(self) -> str:
        return repr(self)

    def begin(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        masks: Mapping[str, torch.Tensor],
        streams: Streams,
        *,
        steps_per_epoch: int | None = None,
        total_steps: int | None = None,
    ) -> Threshold:
        """At work on a network, whose weights are masked and thresholded at once."""
        return Threshold(self, model, optimizer, masks)


def soft_threshold(
    *,
    s_init: float = -200.0,
    s_decay: float | None = None,
    function: Literal["sigmoid", "exp"] = "sigmoid",
    scope: Literal["layer", "global"] = "layer",
    first_layer: Literal["threshold", "mask"] = "threshold",
    last_layer: Literal["threshold", "mask"] = "threshold",
    target_density: float = 0.0,
    tolerance: float = 0.05,
    probes: int = 8,
    probe_epochs: int = 0,
) -> SoftThreshold:
    return SoftThreshold(
        s_init,
        s_decay,
        function,
        scope,
        first_layer,
        last_layer,
        target_density,
        tolerance,
        probes,
        probe_epochs,
    )
