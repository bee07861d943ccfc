"""N:M sparsity from scratch by SR-STE (Zhou, Ma, Zhu, Liu, Zhang, Yuan, Sun, Li, ICLR 2021, arXiv 2102.04010).

    mask = the N largest |theta| of every M consecutive ones,   w = mask * theta        after every step
    gradient of theta = dL/dw + lambda_w (1 - mask) * theta

Consecutive is along the input channels of one output and tap, as sparse tensor cores want it and as the masks of
`structure: n_m` have it. The straight-through gradient lets masked weights come back, and lambda_w pulls them to 0, so
that the mask settles. Channels that are left over, and layers of fewer than M, are groups of their own that keep N too,
or all they have; so a layer is at N / M or above. It starts from a dense network, or from a mask of density N / M whose
places it does not keep. Not from the paper: layers that M does not divide. Of equal weights the first ones stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from sparse_ortho import ranges
from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.rewiring.hidden import Hidden
from sparse_ortho.rewiring.layer import finite
from sparse_ortho.rewiring.rule import Rule

THINS = True  # so it may start from a dense network
UNIT = "n_m"  # what its masks are exact in
RANGES = {"n": "at least 1", "m": "at least 1", "refinement": "at least 0"}


def n_of_m(weight: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """The mask of a weight (outputs, inputs, ...): the n largest of each group of m inputs."""
    last = weight.movedim(1, -1)  # (outputs, ..., inputs)
    rows = finite(last.abs()).flatten(0, -2)  # (outputs x taps, inputs)
    short = -rows.shape[1] % m
    wide = torch.nn.functional.pad(rows, (0, short), value=-1.0) if short else rows.contiguous()
    mask = (by_comparing if m <= 8 else by_sorting)(wide.view(-1, m), n).view(wide.shape)
    return mask[:, : rows.shape[1]].reshape(last.shape).movedim(-1, 1).contiguous()


def by_sorting(groups: torch.Tensor, n: int) -> torch.Tensor:
    order = groups.argsort(dim=1, descending=True, stable=True)[:, :n]
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(1, order, True)


def by_comparing(groups: torch.Tensor, n: int) -> torch.Tensor:
    """The same for few members, each against each: 266,000 weights in fours take 1 ms on one core, sorted 20."""
    members = groups.T.contiguous()  # (m, groups)
    ahead = torch.zeros_like(members, dtype=torch.int8)  # how many come before a member
    for i in range(len(members)):
        for j in range(i):
            larger = members[i] > members[j]
            ahead[j] += larger
            ahead[i] += ~larger
    return (ahead < n).T.contiguous()


def kept(shape: tuple[int, ...], n: int, m: int) -> int:
    """How many weights a layer keeps."""
    whole, rest = divmod(shape[1], m)
    return math.prod(shape) // shape[1] * (whole * n + min(n, rest))


class Refining(Hidden):
    rule: StraightThrough

    def begin(self) -> None:
        n, m = self.rule.n, self.rule.m
        size, wanted = self.masks.size, sum(kept(tuple(mask.shape), n, m) for mask in self.masks.values())
        if self.first not in (size, wanted, budget(str(n / m), size)):
            allowed = f"1 (a dense network) or {n / m:g}"
            raise UserError("rule.n_m", f"keeps {n} of {m} weights", found=self.masks.density, allowed=allowed)

    def due(self, step: int) -> bool:
        return True

    def chosen(self, step: int) -> dict[str, torch.Tensor]:
        return {name: n_of_m(theta, self.rule.n, self.rule.m) for name, theta in self.theta.items()}

    def turn(self, name: str, gradient: torch.Tensor) -> None:
        gradient.add_(self.theta[name] - self.weights[name], alpha=self.rule.refinement)  # (1 - mask) * theta


@dataclass(frozen=True)
class StraightThrough(Rule):
    n: int = 2
    m: int = 4
    refinement: float = 2e-4  # lambda_w

    live = Refining

    def __post_init__(self) -> None:
        super().__post_init__()
        ranges.refuse(RANGES, vars(self), f"rule.{self.name}")
        if self.n > self.m:
            raise UserError(self.where("n"), "is more than m", found=self.n, allowed=f"1 to {self.m}")


def n_m(*, n: int = 2, m: int = 4, refinement: float = 2e-4) -> Rule:
    return StraightThrough("n_m", n=n, m=m, refinement=refinement)
