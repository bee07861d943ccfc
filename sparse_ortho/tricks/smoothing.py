"""Label smoothing that fades out (ToST: Jaiswal et al., ICML 2022, arXiv 2206.12755; the smoothing itself: Szegedy et
al., CVPR 2016, arXiv 1512.00567).

    others   q_true = 1 - a,            q_other = a / (C - 1)        as ToST has it
    uniform  q_true = 1 - a + a / C,    q_other = a / C              as PyTorch and NVIDIA have it
    a(t) = alpha s(t / fraction),    s from 1 to 0: linear or cosine, or constant;    a = 0 from t = fraction on

Not from the paper, whose released code never changes a (`always_on`): the schedule. The released validation and test
losses are smoothed too; here losses that are reported never are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.schedules import SCHEDULES
from sparse_ortho.tricks.attached import Attached
from sparse_ortho.tricks.limits import share_of

WORD = "alpha"
DECAYS = ("linear", "cosine", "constant")
OVER = ("others", "uniform")


@dataclass(frozen=True)
class Smoothing:
    alpha: float
    over: str
    decay: str
    fraction: float
    always_on: bool

    def attach(self, model: nn.Module) -> SmoothedLabels:
        return SmoothedLabels(self)


def smoothing(
    *,
    alpha: float = 0.1,
    over: Literal["others", "uniform"] = "others",
    decay: Literal["linear", "cosine", "constant"] = "linear",
    fraction: float = 0.5,
    always_on: bool = False,
) -> Smoothing:
    """`decay: constant` with a fraction switches it off at once; `always_on` never."""
    if not 0 < alpha < 1:
        raise UserError("tricks.smoothing.alpha", "out of range", found=alpha, allowed="(0, 1)")
    if over not in OVER:
        raise UserError("tricks.smoothing.over", "unknown form", found=over, allowed=OVER)
    if decay not in DECAYS:
        raise UserError("tricks.smoothing.decay", "unknown decay", found=decay, allowed=DECAYS)
    share_of("tricks.smoothing", fraction)
    return Smoothing(alpha, over, decay, fraction, always_on)


class SmoothedLabels(Attached):
    def __init__(self, trick: Smoothing):
        super().__init__(trick)
        self.told = trick
        self.alpha = trick.alpha

    def show(self, u: float) -> None:
        self.alpha = self.told.alpha * SCHEDULES[self.told.decay](u)

    def remove(self) -> None:
        self.alpha = 0.0

    def smoothing(self) -> tuple[float, str]:
        return self.alpha, self.told.over
