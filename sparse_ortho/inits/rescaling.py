"""The iterations of GradInit (see gradinit.py): one positive scale a tensor, learnt by gradient descent.

A step is computed without a graph, and once more with one where its norm turns out to be above gamma: the bound holds
from the first iterations on, so building a graph every time, as the definition reads, would be for nothing. After an
iteration above the bound the graph is there at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.inits.functional import Batch, Function, Tensors, gradients

BETAS, EPS = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class Options:
    iters: int
    lr: float
    eta: float
    gamma: float
    alg: str
    normalize: bool
    min_scale: float
    clip: float
    overlap: bool

    def __post_init__(self) -> None:
        for name in ("lr", "eta", "gamma", "min_scale", "clip", "iters"):
            least = 0 if name in ("gamma", "clip", "min_scale", "iters") else 1e-12
            if not least <= getattr(self, name) < float("inf"):
                raise UserError(f"init.{name}", "out of range", found=getattr(self, name))
        if self.alg not in ("sgd", "adam"):
            raise UserError("init.alg", "unknown algorithm", found=self.alg, allowed=("sgd", "adam"))


@dataclass
class Moments:
    """Adam's, with first moments of their own for the constraint and the objective, and one second moment."""

    first: dict[str, torch.Tensor] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    second: torch.Tensor | None = None

    def direction(self, slope: torch.Tensor, kind: str) -> torch.Tensor:
        n = self.count[kind] = self.count.get(kind, 0) + 1
        self.first[kind] = torch.lerp(slope, self.first.get(kind, torch.zeros_like(slope)), BETAS[0])
        before = torch.zeros_like(slope) if self.second is None else self.second
        self.second = torch.lerp(slope**2, before, BETAS[1])
        mean = self.first[kind] / (1 - BETAS[0] ** n)
        spread = self.second / (1 - BETAS[1] ** sum(self.count.values()))
        return mean / (spread.sqrt() + EPS)


def learnt_scales(
    function: Function, start: Tensors, masks: Tensors, batches: Iterator[Batch], options: Options
) -> dict[str, float]:
    """The scale of every tensor of `start`. Where `masks` names one, what is False there has no gradient."""
    free = [name for name, value in start.items() if bool(value.any())]  # of a zero tensor no scale means anything
    first = next(iter(start.values()))
    floors = torch.tensor([0.0 if is_bias(n) else options.min_scale for n in free], dtype=first.dtype).to(first.device)
    scales = torch.ones(len(free), dtype=first.dtype, device=first.device)
    moments, bounded = Moments(), False
    with function.modes(), torch.enable_grad():
        for number in range(options.iters if free else 0):
            drawn = [function.on_device(next(batches)) for _ in range(3 if options.overlap else 4)]
            slope, bounded = slopes(function, start, masks, free, scales, drawn, options, bounded)
            if not bool(slope.isfinite().all()):
                raise UserError("gradinit", f"the gradient of its scales is not finite in iteration {number + 1}")
            slope = slope.clamp(-options.clip, options.clip) if options.clip else slope
            moved = scales - options.lr * moments.direction(slope, "constraint" if bounded else "objective")
            scales = torch.maximum(moved, floors)
    return dict.fromkeys(start, 1.0) | dict(zip(free, scales.tolist(), strict=True))


def slopes(
    function: Function,
    start: Tensors,
    masks: Tensors,
    free: list[str],
    scales: torch.Tensor,
    drawn: list[Batch],
    options: Options,
    bounded: bool,
) -> tuple[torch.Tensor, bool]:
    """d/ds of the gradient's norm where that is above gamma, else of the loss after a step; and which one it was."""
    batch, ahead = joined(drawn[0], drawn[1]), joined(drawn[0] if options.overlap else drawn[3], drawn[2])
    if bounded:
        slope = constraint(function, start, masks, free, scales, batch, options)
        if slope is not None:
            return slope, True
    theta = {name: value.requires_grad_() for name, value in scaled(start, free, scales).items()}
    found = masked(gradients(function, theta, batch, graph=False), masks)
    if not bounded and options.gamma and float(norm(found, options.alg)) > options.gamma:
        slope = constraint(function, start, masks, free, scales, batch, options)
        if slope is not None:
            return slope, True
    return objective(function, start, free, scales, step_of(found, options), ahead, options.eta), False


def constraint(
    function: Function,
    start: Tensors,
    masks: Tensors,
    free: list[str],
    scales: torch.Tensor,
    batch: Batch,
    options: Options,
) -> torch.Tensor | None:
    """d/ds of the norm of the gradient; None if that is not above gamma."""
    s = scales.clone().requires_grad_()
    found = masked(gradients(function, scaled(start, free, s), batch, graph=True), masks)
    size = norm(found, options.alg)
    return torch.autograd.grad(size, s)[0] if float(size.detach()) > options.gamma else None


def objective(
    function: Function,
    start: Tensors,
    free: list[str],
    scales: torch.Tensor,
    step: Tensors,
    batch: Batch,
    eta: float,
) -> torch.Tensor:
    """d/ds of L(s theta - eta step) / eta, the step a constant."""
    s = scales.clone().requires_grad_()
    ahead = {name: value - eta * step[name] for name, value in scaled(start, free, s).items()}
    return torch.autograd.grad(function(ahead, batch) / eta, s)[0]


def scaled(start: Tensors, free: list[str], scales: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tensors at these scales; those that have none are themselves."""
    known = dict(zip(free, scales.unbind(), strict=True))
    return {
        name: value * known[name] if name in known else value.clone().requires_grad_(scales.requires_grad)
        for name, value in start.items()
    }


def masked(found: Tensors, masks: Tensors) -> dict[str, torch.Tensor]:
    return {name: value * masks[name] if name in masks else value for name, value in found.items()}


def norm(found: Mapping[str, torch.Tensor], alg: str) -> torch.Tensor:
    """Of all gradients together: the 2-norm, and for Adam the 1-norm."""
    return torch.linalg.vector_norm(
        torch.cat([value.reshape(-1) for value in found.values()]), 1 if alg == "adam" else 2
    )


def step_of(found: Tensors, options: Options) -> dict[str, torch.Tensor]:
    """What the optimizer subtracts, over eta."""
    if options.alg == "adam":
        return {name: value.sign() for name, value in found.items()}
    size = norm(found, "sgd").clamp(min=1e-30) if options.normalize else 1.0
    return {name: value / size for name, value in found.items()}


def joined(a: Batch, b: Batch) -> Batch:
    return torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])


def is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"
