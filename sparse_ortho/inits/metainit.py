"""MetaInit (Dauphin, Schoenholz, "MetaInit: Initializing learning by learning to initialize", NeurIPS 2019).

    GQ(theta) = 1/N  sum | (g - H g) / (g + eps sgn(g)) - 1 |,    g = grad L,  H its Hessian,  sgn(0) = 1
    n_l <- n_l + m_l,    m_l <- momentum m_l - lr sign(d GQ / d n_l),    n_l the norm of the l-th weight tensor

The gradient quotient GQ says how much a step of gradient descent changes the gradient; of a quadratic loss it is the
mean absolute curvature. Only norms of weights are learnt, from random inputs and labels, so no data is looked at beyond
its shape (`inputs: images` looks at images).

Not from the paper: masks, under which g and the sum are about the weights that are kept; and that a norm stays above a
hundredth of what it was, for the paper's steps can be larger than a small layer's norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.inits.functional import Batch, Function, Tensors, endless, gradients
from sparse_ortho.inits.gradinit import Made, started
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams

NEEDS = ("data",)
BASE = "base"  # the option that names another initialisation
WHOLE = True
LEAST = 0.01  # of the norm at the start
EPS = 1e-5  # that of the paper


def metainit(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    base: str = "kaiming",
    inputs: Literal["gaussian", "images"] = "gaussian",
    steps: int = 500,
    lr: float = 0.1,
    momentum: float = 0.9,
    batch: int = 128,
) -> Made:
    """Weights of the base with other norms, and its masks."""
    if probe.batches is None:
        raise UserError("inits.metainit", "needs data, and none was given; pass data=[(x, y), ...]")
    if inputs not in ("gaussian", "images"):
        raise UserError("init.inputs", "unknown inputs", found=inputs, allowed=("gaussian", "images"))
    start, kept = started(probe, masks, streams, base)
    function = Function(probe.model, probe.loss)
    told = {**probe.weights, **start}
    theta = {name: told[name].to(value) if name in told else value for name, value in function.parameters().items()}
    source = endless(probe.batches, batch, "metainit")
    if inputs == "gaussian":
        source = noise(function, theta, next(source), batch, streams)
    with function.modes(elementary=True), torch.enable_grad():
        theta = learnt(function, theta, kept, source, steps, lr, momentum)
    return {name: value for name, value in theta.items() if name in kept}, kept


def learnt(
    function: Function, theta: Tensors, masks: Tensors, source: Iterator[Batch], steps: int, lr: float, momentum: float
) -> dict[str, torch.Tensor]:
    """The weights with other norms; all else is as it was."""
    free = [name for name, value in theta.items() if value.ndim >= 2 and bool(value.any())]
    first = {name: float(theta[name].norm()) for name in free}
    norms, speed = dict(first), dict.fromkeys(free, 0.0)
    for number in range(steps):
        now = {n: v * (norms[n] / first[n]) if n in norms else v for n, v in theta.items()}
        now = {name: value.detach().requires_grad_() for name, value in now.items()}
        quotient = gradient_quotient(function, now, masks, function.on_device(next(source)))
        slopes = torch.autograd.grad(quotient, [now[name] for name in free], allow_unused=True)
        for name, slope in zip(free, slopes, strict=True):
            along = 0.0 if slope is None else float((slope * now[name].detach()).sum())
            if along != along:
                raise UserError("metainit", f"the gradient quotient is not a number in step {number + 1}")
            speed[name] = momentum * speed[name] - lr * ((along > 0) - (along < 0))
            norms[name] = max(norms[name] + speed[name], LEAST * first[name])
    return {n: v * (norms[n] / first[n]) if n in norms else v for n, v in theta.items()}


def gradient_quotient(function: Function, theta: Tensors, masks: Tensors, batch: Batch) -> torch.Tensor:
    """GQ over the weights that are kept, differentiable once more."""
    slopes = {n: g * masks[n] if n in masks else g for n, g in gradients(function, theta, batch, graph=True).items()}
    energy = torch.stack([(slope**2).sum() / 2 for slope in slopes.values()]).sum()
    products = torch.autograd.grad(energy, list(theta.values()), create_graph=True, allow_unused=True)
    total, count = torch.zeros((), dtype=energy.dtype, device=energy.device), 0
    for (name, g), product in zip(slopes.items(), products, strict=True):
        small = torch.where(g >= 0, EPS, -EPS)
        quotient = (g - (torch.zeros_like(g) if product is None else product)) / (g + small) - 1
        quotient = quotient * masks[name] if name in masks else quotient
        total, count = total + quotient.abs().sum(), count + (int(masks[name].sum()) if name in masks else g.numel())
    return total / max(count, 1)


def noise(function: Function, theta: Tensors, seen: Batch, rows: int, streams: Streams) -> Iterator[Batch]:
    """Gaussian inputs of the shape of the data, and labels as many as the network tells apart."""
    with torch.no_grad():
        classes = max(2, function.outputs(theta, function.on_device(seen)[0][:2]).shape[1])
    rng = streams("init", "metainit")
    while True:
        x = torch.from_numpy(rng.standard_normal((rows, *seen[0].shape[1:]))).to(seen[0].dtype)
        yield x, torch.from_numpy(rng.integers(0, classes, rows))
