"""Edge-popup (Ramanujan, Wortsman, Kembhavi, Farhadi, Rastegari, "What's Hidden in a Randomly Weighted Neural
Network?", CVPR 2020, arXiv 1911.13299) within a random mask (Gadhikar, Mukherjee, Burkholz, "Why Random Pruning Is All
We Need to Start Sparse", ICML 2023, arXiv 2210.02412): a strong lottery ticket of a random network. No weight is
trained.

    W~ = W * h(S),   h = 1 at the k largest |S| of the frame E of a layer, else 0,   k = min(floor(rho n), sum E)
    dL/dS = dL/dW~ * W * sign(S)   on E   (straight through h)

E is the mask that training begins with, rho the `final_density`, n all weights of the layer. Of equal scores the first
is taken. Everything else of the network is frozen too (biases, normalisation; its running statistics are not).

    levels        L of them of equal length, the l-th at density  min(E, start (rho / start)^(l / L)), at least rho;
                  scores go on from level to level. A clipped level is where the next goes on from, as released.
    scale_fan     W / sqrt(rho)
    biases        as the initialisation left them ("given"), or drawn as learned/biases.py has it
    score_biases  biases have scores too, all of them in E, and count in n and k
    restart       the schedule of the learning rate is that of one level and begins anew with each, as released
    scaling       after each epoch the network is scaled to its last batch (learned/scaling.py), as released
    shuffle       an ablation: before the last evaluation, "masks" deals the bits of h out anew within E, "weights" the
                  pairs of a weight and its bit, in each layer

Not as released: there only the first c_out scores of a layer ever become 0 or 1 and all others stay multipliers, inside
and outside of E, so a dense network is trained. Not from the papers: signed scores (`rank`), one k for all layers
(`scope`), a gradient outside of E (`outside`), which moves scores that are never chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.learned.popup import Popup
from sparse_ortho.streams import Streams

THINS = True  # so it may start from a dense network: E is all of it, the algorithm of 2020
PART = "sparse_ortho.training.popup:PoppedUp"  # how a training takes it
FORBIDS = {"ema": "a mean of subnetworks of random weights is no subnetwork of them"}


@dataclass(frozen=True)
class EdgePopup:
    final_density: float
    scope: str
    rank: str
    outside: str
    scores: str
    biases: str
    bias_scale: float
    score_biases: bool
    scale_fan: bool
    levels: int
    start_density: float
    shuffle: str
    restart: bool
    scaling: bool
    name: str = "edge_popup"

    flow = "none"  # as rules of rewiring/ say it: no weight is moved to a unit that has none

    def __post_init__(self) -> None:
        for option in ("final_density", "start_density"):
            if not 0 < getattr(self, option) <= 1:
                raise UserError(self.where(option), "out of range", found=getattr(self, option), allowed="(0, 1]")
        if self.bias_scale < 0:
            raise UserError(self.where("bias_scale"), "must be at least 0", found=self.bias_scale)
        if self.levels < 1:
            raise UserError(self.where("levels"), "must be at least 1", found=self.levels)
        if self.levels > 1 and self.start_density < self.final_density:
            raise UserError(self.where("start_density"), "is below final_density", found=self.start_density)

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
    ) -> Popup:
        """At work on a network, whose weights are masked at once."""
        return Popup(self, model, optimizer, masks, streams, total_steps)


def edge_popup(
    *,
    final_density: float = 0.5,
    scope: Literal["layer", "global"] = "layer",
    rank: Literal["abs", "signed"] = "abs",
    outside: Literal["zero", "identity"] = "zero",
    scores: Literal["kaiming_uniform", "constant", "as_released"] = "kaiming_uniform",
    biases: Literal["given", "normal", "signed", "mirrored", "cancelling"] = "given",
    bias_scale: float = 0.05,
    score_biases: bool = False,
    scale_fan: bool = False,
    levels: int = 1,
    start_density: float = 0.6,
    shuffle: Literal["no", "masks", "weights"] = "no",
    restart: bool = False,
    scaling: bool = False,
) -> EdgePopup:
    return EdgePopup(
        final_density,
        scope,
        rank,
        outside,
        scores,
        biases,
        bias_scale,
        score_biases,
        scale_fan,
        levels,
        start_density,
        shuffle,
        restart,
        scaling,
    )
